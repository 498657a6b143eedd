//! Globs as people write them, compared with plain names: the only place that knows them.
//!
//! A character is one of UTF-8, or a byte that is none. Pure functions of bytes; knows no file
//! system and no entry.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};

/// `{a,b}` multiplies: more patterns of one glob are refused.
const ALTERNATIVES_MAX: usize = 1000;
/// A byte that is no UTF-8 counts as this and its value, which no character has.
const NO_CHARACTER: u32 = 0x11_0000;

/// Globs, and which of them met something.
#[derive(Debug, Default)]
pub struct Globs {
    all: Vec<Glob>,
    /// Those that stand for one name anywhere, by that name: there may be thousands.
    by_name: HashMap<Vec<u8>, Vec<usize>>,
    others: Vec<usize>,
}

/// One glob. Without a slash but at its end it is for a name anywhere, else for a whole one.
#[derive(Debug)]
struct Glob {
    text: String,
    is_anywhere: bool,
    /// A slash at the end: for directories alone.
    is_for_dirs: bool,
    patterns: Vec<Vec<Part>>,
    is_met: AtomicBool,
}

/// What one part of a name is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`: any number of parts.
    Many,
    /// Exactly this.
    Literal(Vec<u8>),
    Wild(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Star,
    /// `[a-z]`, or with true `[!a-z]`.
    Set(bool, Vec<(char, char)>),
    Slash,
}

impl Globs {
    /// # Errors
    /// The glob that is malformed, empty, or means something here that it does not elsewhere.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut globs = Self::default();
        for text in texts {
            let glob = Glob::new(text).with_context(|| format!("'{}'", text.escape_debug()))?;
            let number = globs.all.len();
            match glob.name() {
                Some(name) => globs.by_name.entry(name).or_default().push(number),
                None => globs.others.push(number),
            }
            globs.all.push(glob);
        }
        Ok(globs)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether one matches a plain name. All that do have met something from here on.
    #[must_use]
    pub fn matches(&self, name: &[u8], is_dir: bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let last = last_part(name);
        let by_name = self.by_name.get(last).into_iter().flatten();
        let mut is_matched = false;
        for number in by_name.chain(&self.others) {
            if self.all[*number].matches(name, last, is_dir) {
                is_matched = true;
            }
        }
        is_matched
    }

    /// Which met nothing, by their numbers.
    pub fn unmet(&self) -> impl Iterator<Item = usize> {
        let is_unmet = |glob: &Glob| !glob.is_met.load(Ordering::Relaxed);
        let all = self.all.iter().enumerate();
        all.filter(move |(_, glob)| is_unmet(glob))
            .map(|(number, _)| number)
    }

    /// From here on none has met anything.
    pub fn forget(&self) {
        for glob in &self.all {
            glob.is_met.store(false, Ordering::Relaxed);
        }
    }

    /// A glob as it was written.
    #[must_use]
    pub fn text(&self, number: usize) -> &str {
        &self.all[number].text
    }

    /// What the names begin with that each can match, and whether that is all of their parts;
    /// empty where it can be any.
    pub(crate) fn begins(&self) -> impl Iterator<Item = (Vec<u8>, bool)> {
        self.all.iter().map(Glob::begin)
    }
}

impl Glob {
    fn new(text: &str) -> Result<Self> {
        ensure!(
            !text.starts_with('!'),
            "it begins with '!', and no glob takes back what others match: write '\\!' for a name that begins so"
        );
        let whole = text.trim_end_matches('/');
        let (mut rest, is_for_dirs) = (whole, whole.len() < text.len());
        while let Some(more) = rest.strip_prefix("./").or(rest.strip_prefix('/')) {
            rest = more;
        }
        ensure!(!rest.is_empty() && rest != ".", "it matches nothing");
        let mut chars = rest.chars().peekable();
        let mut patterns = Vec::new();
        for tokens in parse(&mut chars, false)? {
            patterns.push(parts(&tokens));
        }
        Ok(Self {
            text: text.to_owned(),
            is_anywhere: !whole.contains('/'),
            is_for_dirs,
            patterns,
            is_met: AtomicBool::new(false),
        })
    }

    fn matches(&self, name: &[u8], last: &[u8], is_dir: bool) -> bool {
        if self.is_for_dirs && !is_dir {
            return false;
        }
        let name = if self.is_anywhere { last } else { name };
        let is_matched = self.patterns.iter().any(|it| is_path(it, name));
        if is_matched {
            self.is_met.store(true, Ordering::Relaxed);
        }
        is_matched
    }

    /// The one name that it is for, anywhere.
    fn name(&self) -> Option<Vec<u8>> {
        let pattern = self.patterns.first()?;
        match &pattern[..] {
            [Part::Literal(name)] if self.is_anywhere && self.patterns.len() == 1 => {
                Some(name.clone())
            }
            _ => None,
        }
    }

    fn begin(&self) -> (Vec<u8>, bool) {
        if self.is_anywhere {
            return (Vec::new(), false);
        }
        let begins = self.patterns.iter().map(|pattern| begin_of(pattern));
        let common = begins.reduce(|(one, _), (other, _)| {
            let pairs = one.iter().zip(&other);
            let same = pairs.take_while(|(one, other)| one == other).count();
            (one[..same].to_owned(), false)
        });
        common.unwrap_or_default()
    }
}

fn begin_of(pattern: &[Part]) -> (Vec<u8>, bool) {
    let mut begin = Vec::new();
    for (number, part) in pattern.iter().enumerate() {
        if number > 0 {
            begin.push(b'/');
        }
        let tokens = match part {
            Part::Literal(name) => {
                begin.extend_from_slice(name);
                continue;
            }
            Part::Many => return (begin, false),
            Part::Wild(tokens) => tokens,
        };
        let literal = tokens.iter().map_while(|token| match token {
            Token::Char(c) => Some(*c),
            _ => None,
        });
        begin.extend_from_slice(literal.collect::<String>().as_bytes());
        return (begin, false);
    }
    (begin, true)
}

fn last_part(name: &[u8]) -> &[u8] {
    let slash = name.iter().rposition(|byte| *byte == b'/');
    slash.map_or(name, |slash| &name[slash + 1..])
}

/// Reads tokens up to the end, or up to what ends an alternative; each alternative is a list.
fn parse(chars: &mut Peekable<Chars<'_>>, is_within: bool) -> Result<Vec<Vec<Token>>> {
    let mut all = vec![Vec::new()];
    while let Some(c) = chars.next_if(|c| !is_within || !matches!(c, ',' | '}')) {
        let more = match c {
            '*' => vec![vec![Token::Star]],
            '?' => vec![vec![Token::One]],
            '/' => vec![vec![Token::Slash]],
            '[' => vec![vec![set(chars)?]],
            '{' => alternatives(chars)?,
            '}' => bail!("a '}}' has no '{{'"),
            '\\' => {
                let escaped = chars.next().context("it ends with a backslash")?;
                vec![vec![Token::Char(escaped)]]
            }
            c => vec![vec![Token::Char(c)]],
        };
        ensure!(
            all.len() * more.len() <= ALTERNATIVES_MAX,
            "it has more than {ALTERNATIVES_MAX} alternatives"
        );
        let joined = all.iter().flat_map(|begin| {
            let join = move |end: &Vec<Token>| [&begin[..], end].concat();
            more.iter().map(join)
        });
        all = joined.collect();
    }
    Ok(all)
}

/// The alternatives after a `{`, up to their `}`.
fn alternatives(chars: &mut Peekable<Chars<'_>>) -> Result<Vec<Vec<Token>>> {
    let mut all = Vec::new();
    loop {
        all.extend(parse(chars, true)?);
        match chars.next() {
            Some(',') => {}
            Some(_) => return Ok(all),
            None => bail!("a '{{' has no '}}'"),
        }
    }
}

/// The set after a `[`, up to its `]`, which comes first where it is one of the set.
fn set(chars: &mut Peekable<Chars<'_>>) -> Result<Token> {
    let unclosed = "a '[' has no ']'";
    let is_negated = chars.next_if(|c| matches!(c, '!' | '^')).is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match chars.next().context(unclosed)? {
            ']' if !ranges.is_empty() => return Ok(Token::Set(is_negated, ranges)),
            from => from,
        };
        let mut ahead = chars.clone();
        let is_range = ahead.next() == Some('-') && ahead.next().is_some_and(|to| to != ']');
        let to = if is_range {
            chars.next();
            chars.next().context(unclosed)?
        } else {
            from
        };
        ensure!(from <= to, "its set '{from}-{to}' is empty");
        ranges.push((from, to));
    }
}

fn parts(tokens: &[Token]) -> Vec<Part> {
    let part = |tokens: &[Token]| {
        if tokens == [Token::Star, Token::Star] {
            return Part::Many;
        }
        let literal = tokens.iter().map(|token| match token {
            Token::Char(c) => Some(*c),
            _ => None,
        });
        match literal.collect::<Option<String>>() {
            Some(name) => Part::Literal(name.into_bytes()),
            None => Part::Wild(tokens.to_owned()),
        }
    };
    let split = tokens.split(|token| *token == Token::Slash);
    let mut parts: Vec<_> = split.map(part).collect();
    // What is below a directory is not the directory itself.
    if parts.len() > 1 && parts.last() == Some(&Part::Many) {
        let at = parts.len() - 1;
        parts.insert(at, Part::Wild(vec![Token::Star]));
    }
    parts
}

fn is_path(pattern: &[Part], name: &[u8]) -> bool {
    if let [Part::Literal(literal)] = pattern {
        return literal == name;
    }
    let end = |at: usize| {
        let slash = name[at..].iter().position(|byte| *byte == b'/');
        slash.map_or(name.len(), |slash| at + slash)
    };
    // Past the last part is past the end of the name.
    let next = |at: usize| (at <= name.len()).then(|| end(at) + 1);
    let takes = |part: &Part, at: usize| {
        let next = next(at)?;
        let here = &name[at..next - 1];
        let is_taken = match part {
            Part::Many => false,
            Part::Literal(literal) => literal == here,
            Part::Wild(tokens) => is_name(tokens, here),
        };
        is_taken.then_some(next)
    };
    let is_many = |part: &Part| *part == Part::Many;
    is_all(pattern, name.len() + 1, is_many, takes, next)
}

fn is_name(tokens: &[Token], name: &[u8]) -> bool {
    let next = |at: usize| character(&name[at..]).map(|(_, bytes)| at + bytes);
    let takes = |token: &Token, at: usize| {
        let (character, bytes) = character(&name[at..])?;
        let is_taken = match token {
            Token::Char(c) => u32::from(*c) == character,
            Token::One => true,
            Token::Set(is_negated, ranges) => {
                let is_within = |(from, to): &(char, char)| {
                    (u32::from(*from)..=u32::from(*to)).contains(&character)
                };
                ranges.iter().any(is_within) != *is_negated
            }
            Token::Star | Token::Slash => false,
        };
        is_taken.then_some(at + bytes)
    };
    is_all(tokens, name.len(), |it| *it == Token::Star, takes, next)
}

/// Whether a pattern takes all up to `end`: what takes one thing, and stars that take any
/// number. Only the last star that was met is ever tried again, so that the time is bounded by
/// the product of both lengths.
fn is_all<T>(
    pattern: &[T],
    end: usize,
    is_star: impl Fn(&T) -> bool,
    takes: impl Fn(&T, usize) -> Option<usize>,
    next: impl Fn(usize) -> Option<usize>,
) -> bool {
    let (mut number, mut at) = (0, 0);
    let mut star = None;
    loop {
        match pattern.get(number) {
            Some(one) if is_star(one) => {
                star = Some((number, at));
                number += 1;
                continue;
            }
            Some(one) => {
                if let Some(after) = takes(one, at) {
                    (number, at) = (number + 1, after);
                    continue;
                }
            }
            None if at == end => return true,
            None => {}
        }
        let Some((star_number, from)) = star else {
            return false;
        };
        let Some(after) = next(from) else {
            return false;
        };
        star = Some((star_number, after));
        (number, at) = (star_number + 1, after);
    }
}

/// The first character, and how many bytes it takes.
fn character(bytes: &[u8]) -> Option<(u32, usize)> {
    let first = *bytes.first()?;
    let length = match first {
        0..0x80 => return Some((first.into(), 1)),
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    let text = bytes.get(..length).map(str::from_utf8);
    Some(
        match text
            .and_then(Result::ok)
            .and_then(|text| text.chars().next())
        {
            Some(c) => (c.into(), length),
            None => (NO_CHARACTER + u32::from(first), 1),
        },
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(glob: &str, name: &str) -> bool {
        Globs::new([glob]).unwrap().matches(name.as_bytes(), true)
    }

    #[test]
    fn globs_match_a_name_anywhere_or_a_whole_one() {
        for (glob, name) in [
            ("log", "a/log"),
            ("/log", "log"),
            ("./log", "log"),
            (".//./log/", "log"),
            ("a/log", "a/log"),
            ("*.c", "a/b.c"),
            ("a/*.c", "a/b.c"),
            ("**/b", "b"),
            ("**/b", "a/a/b"),
            ("a/**", "a/b/c"),
            ("a/**/c", "a/c"),
            ("a/**/c", "a/b/b/c"),
            ("**", "a"),
            ("a**", "ab"),
            ("*a*a*b", "aaab"),
            ("{x,y/z}", "y/z"),
            ("a{b,c{d,}}e", "ace"),
            ("[]a-c]", "]"),
            ("[!a]", "é"),
            ("[à-ÿ]", "é"),
            ("?", "é"),
            ("\\*\\!", "*!"),
            ("\\!keep", "!keep"),
            ("a,b", "a,b"),
        ] {
            assert!(matches(glob, name), "{glob} {name}");
        }
        for (glob, name) in [
            ("/log", "a/log"),
            ("./log", "a/log"),
            ("a/*.c", "a/b/d.c"),
            ("a*c", "a/c"),
            ("a/**", "a"),
            ("??", "é"),
            ("?", ""),
            ("[!a]", "a"),
            ("*.c", "c"),
        ] {
            assert!(!matches(glob, name), "{glob} {name}");
        }
        let bytes = Globs::new(["a?b", "[!a]"]).unwrap();
        assert!(bytes.matches(b"a\xffb", false) && bytes.matches(b"\xff", false));
        assert!(!bytes.matches(b"a\xff\xffb", false));
    }

    #[test]
    fn a_slash_at_the_end_is_for_directories_alone() {
        for glob in ["build/", "/build/", "buil[d]/"] {
            let globs = Globs::new([glob]).unwrap();
            assert!(!globs.matches(b"build", false) && globs.unmet().eq([0]));
            assert!(globs.matches(b"build", true) && globs.unmet().eq([]));
            globs.forget();
            assert!(globs.unmet().eq([0]));
        }
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        for (glob, why) in [
            ("", "it matches nothing"),
            ("./", "it matches nothing"),
            ("/", "it matches nothing"),
            ("a[b", "a '[' has no ']'"),
            ("a{b", "a '{' has no '}'"),
            ("a}", "a '}' has no '{'"),
            ("a\\", "it ends with a backslash"),
            ("[b-a]", "its set 'b-a' is empty"),
        ] {
            let error = Globs::new([glob]).unwrap_err();
            assert_eq!(
                format!("{error:#}"),
                format!("'{}': {why}", glob.escape_debug())
            );
        }
        assert!(
            Globs::new(["!keep"]).is_err() && Globs::new(["{a,b}".repeat(10).as_str()]).is_err()
        );
    }

    proptest! {
        #[test]
        fn no_glob_panics_and_all_that_is_escaped_is_itself(glob in "[a-c\\[\\]{}!*?/\\\\,é-]{0,12}", name in "[a-cé/*\\[]{1,8}") {
            if let Ok(globs) = Globs::new([glob.as_str()]) {
                let _ = globs.matches(name.as_bytes(), false);
            }
            let name = name.trim_matches('/');
            if !name.is_empty() && !name.contains("//") {
                let escaped: String = name.chars().map(|c| if c == '/' { "/".to_owned() } else { format!("\\{c}") }).collect();
                prop_assert!(matches(&escaped, name));
            }
        }
    }
}
