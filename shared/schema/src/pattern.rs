//! One glob as a list of patterns, and their matching.
//!
//! A character is one of UTF-8, or a byte that is not part of one. Pure functions of bytes; knows no
//! set of globs.

use std::iter::Peekable;
use std::str::Chars;

use anyhow::{Context, Result, bail, ensure};

/// The limit of patterns that `{a,b}` may expand to.
const ALTERNATIVES_MAX: usize = 1000;
/// A byte that is not UTF-8 counts as this plus its value, which is no character.
const NO_CHARACTER: u32 = 0x11_0000;

/// The pattern for one part of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// `**`: any number of parts.
    Many,
    /// Exactly this.
    Literal(Vec<u8>),
    Wild(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Star,
    Set(Set),
    Slash,
}

/// `[a-z]` or `[!a-z]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    is_negated: bool,
    ignores_case: bool,
    ranges: Vec<(char, char)>,
}

impl Token {
    fn literal(&self) -> Option<char> {
        match self {
            Self::Char(c) => Some(*c),
            _ => None,
        }
    }
}

impl Set {
    fn has(&self, character: u32) -> bool {
        let is_within = |character: u32| {
            let within = |(from, to): &(char, char)| {
                (u32::from(*from)..=u32::from(*to)).contains(&character)
            };
            self.ranges.iter().any(within)
        };
        // The name is in lower case, the ranges are as they were given.
        let other_case = || {
            let upper = char::from_u32(character).and_then(|c| only(c.to_uppercase()));
            upper.is_some_and(|upper| is_within(upper.into()))
        };
        (is_within(character) || self.ignores_case && other_case()) != self.is_negated
    }
}

/// Expands a glob to patterns, each a list of parts. Those that ignore case match names that are folded.
///
/// # Errors
/// A malformed glob.
pub(crate) fn patterns(glob: &str, ignores_case: bool) -> Result<Vec<Vec<Part>>> {
    let mut all = parse(&mut glob.chars().peekable(), false)?;
    for token in all.iter_mut().flatten().filter(|_| ignores_case) {
        match token {
            Token::Char(c) => *c = lower(*c),
            Token::Set(set) => set.ignores_case = true,
            Token::One | Token::Star | Token::Slash => {}
        }
    }
    Ok(all.iter().map(|tokens| parts(tokens)).collect())
}

/// A name in lower case, with as many characters.
pub(crate) fn fold(name: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        let lower: String = chunk.valid().chars().map(lower).collect();
        folded.extend_from_slice(lower.as_bytes());
        folded.extend_from_slice(chunk.invalid());
    }
    folded
}

/// One that has several characters in lower case stays as it is.
fn lower(c: char) -> char {
    only(c.to_lowercase()).unwrap_or(c)
}

fn only(mut chars: impl Iterator<Item = char>) -> Option<char> {
    chars.next().filter(|_| chars.next().is_none())
}

/// The literal prefix of all names that a pattern can match, and whether that is all of the pattern.
pub(crate) fn literal_prefix(pattern: &[Part]) -> (Vec<u8>, bool) {
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
        let literal = tokens.iter().map_while(Token::literal);
        begin.extend_from_slice(literal.collect::<String>().as_bytes());
        return (begin, false);
    }
    (begin, true)
}

/// Parses up to the end, or up to the end of an alternative; each alternative is a list of tokens.
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

/// The set after a `[`, up to its `]`. A `]` that comes first is a member of the set.
fn set(chars: &mut Peekable<Chars<'_>>) -> Result<Token> {
    let unclosed = "a '[' has no ']'";
    let is_negated = chars.next_if(|c| matches!(c, '!' | '^')).is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match chars.next().context(unclosed)? {
            ']' if !ranges.is_empty() => {
                return Ok(Token::Set(Set {
                    is_negated,
                    ignores_case: false,
                    ranges,
                }));
            }
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
        ensure!(from <= to, "the range '{from}-{to}' is empty");
        ranges.push((from, to));
    }
}

fn parts(tokens: &[Token]) -> Vec<Part> {
    let part = |tokens: &[Token]| {
        if tokens == [Token::Star, Token::Star] {
            return Part::Many;
        }
        let literal = tokens.iter().map(Token::literal);
        match literal.collect::<Option<String>>() {
            Some(name) => Part::Literal(name.into_bytes()),
            None => Part::Wild(tokens.to_owned()),
        }
    };
    let split = tokens.split(|token| *token == Token::Slash);
    let mut parts: Vec<_> = split.map(part).collect();
    // `a/**` does not match `a` itself.
    if parts.len() > 1 && parts.last() == Some(&Part::Many) {
        let at = parts.len() - 1;
        parts.insert(at, Part::Wild(vec![Token::Star]));
    }
    parts
}

/// Whether a pattern matches a normalized name.
pub(crate) fn is_path(pattern: &[Part], name: &[u8]) -> bool {
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
            Token::Set(set) => set.has(character),
            Token::Star | Token::Slash => false,
        };
        is_taken.then_some(at + bytes)
    };
    is_all(tokens, name.len(), |it| *it == Token::Star, takes, next)
}

/// Whether a pattern matches everything up to `end`: items that match one thing, and stars that match
/// any number. Backtracks to the last star only, so the time is bounded by the product of both
/// lengths.
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

/// The first character and its length in bytes.
fn character(bytes: &[u8]) -> Option<(u32, usize)> {
    let first = *bytes.first()?;
    let length = match first {
        0..0x80 => return Some((first.into(), 1)),
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    let text = bytes.get(..length).and_then(|it| str::from_utf8(it).ok());
    Some(match text.and_then(|text| text.chars().next()) {
        Some(c) => (c.into(), length),
        None => (NO_CHARACTER + u32::from(first), 1),
    })
}
