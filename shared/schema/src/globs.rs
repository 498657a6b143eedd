//! Globs for names: of entries, and of backups.
//!
//! Knows what a slash at either end means, and remembers which globs have matched. Knows no file
//! system and no entry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};

use crate::pattern::{Part, fold, is_path, literal_prefix, patterns};

/// Globs, and which of them have matched something.
#[derive(Debug, Default)]
pub struct Globs {
    all: Vec<Glob>,
    /// Globs that are one literal name at any depth, by that name: there may be thousands.
    by_name: HashMap<Vec<u8>, Vec<usize>>,
    others: Vec<usize>,
    ignores_case: bool,
}

/// One glob. Without a slash, but at its end, it matches the last part of a name at any depth, else
/// the whole name.
#[derive(Debug)]
struct Glob {
    text: String,
    is_anywhere: bool,
    /// A slash at the end: only directories match.
    is_for_dirs: bool,
    patterns: Vec<Vec<Part>>,
    has_matched: AtomicBool,
}

impl Globs {
    /// Parses globs.
    ///
    /// # Errors
    /// The first glob that is malformed or empty, or begins with `!`.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        Self::parse(texts, false)
    }

    /// Parses globs that match without regard to upper and lower case: character by character, so that
    /// `?` is still one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn ignoring_case<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        Self::parse(texts, true)
    }

    fn parse<'a>(texts: impl IntoIterator<Item = &'a str>, ignores_case: bool) -> Result<Self> {
        let mut globs = Self {
            ignores_case,
            ..Self::default()
        };
        for text in texts {
            let no_glob = || format!("invalid glob '{}'", text.escape_debug());
            let glob = Glob::new(text, ignores_case).with_context(no_glob)?;
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

    /// Whether any glob matches a name, from which `./` and a slash at its begin are taken as from the
    /// globs. Remembers all that do.
    #[must_use]
    pub fn matches(&self, mut name: &[u8], is_dir: bool) -> bool {
        if self.is_empty() {
            return false;
        }
        while let Some(rest) = name.strip_prefix(b"./").or(name.strip_prefix(b"/")) {
            name = rest;
        }
        let folded = self.ignores_case.then(|| fold(name));
        let name = folded.as_deref().unwrap_or(name);
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

    /// The globs that have not matched anything, as given.
    pub fn unmatched(&self) -> impl Iterator<Item = &str> {
        let is_unmatched = |glob: &&Glob| !glob.has_matched.load(Ordering::Relaxed);
        let unmatched = self.all.iter().filter(is_unmatched);
        unmatched.map(|glob| glob.text.as_str())
    }

    /// Forgets which globs have matched.
    pub fn reset(&self) {
        for glob in &self.all {
            glob.has_matched.store(false, Ordering::Relaxed);
        }
    }

    /// For each glob the literal prefix of all names that it can match, and whether it consists of
    /// whole parts; empty if any name can match.
    pub fn prefixes(&self) -> impl Iterator<Item = (Vec<u8>, bool)> {
        let prefix = |glob: &Glob| match self.ignores_case {
            true => Default::default(),
            false => glob.prefix(),
        };
        self.all.iter().map(prefix)
    }
}

impl Glob {
    fn new(text: &str, ignores_case: bool) -> Result<Self> {
        ensure!(
            !text.starts_with('!'),
            "negation is not supported: use '\\!' for a name that begins with '!'"
        );
        let whole = text.trim_end_matches('/');
        let (mut rest, is_for_dirs) = (whole, whole.len() < text.len());
        while let Some(more) = rest.strip_prefix("./").or(rest.strip_prefix('/')) {
            rest = more;
        }
        ensure!(!rest.is_empty() && rest != ".", "it can match nothing");
        Ok(Self {
            text: text.to_owned(),
            is_anywhere: !whole.contains('/'),
            is_for_dirs,
            patterns: patterns(rest, ignores_case)?,
            has_matched: AtomicBool::new(false),
        })
    }

    fn matches(&self, name: &[u8], last: &[u8], is_dir: bool) -> bool {
        if self.is_for_dirs && !is_dir {
            return false;
        }
        let name = if self.is_anywhere { last } else { name };
        let is_matched = self.patterns.iter().any(|it| is_path(it, name));
        if is_matched {
            self.has_matched.store(true, Ordering::Relaxed);
        }
        is_matched
    }

    /// The literal name, if it is one at any depth.
    fn name(&self) -> Option<Vec<u8>> {
        let pattern = self.patterns.first()?;
        match &pattern[..] {
            [Part::Literal(name)] if self.is_anywhere && self.patterns.len() == 1 => {
                Some(name.clone())
            }
            _ => None,
        }
    }

    fn prefix(&self) -> (Vec<u8>, bool) {
        if self.is_anywhere {
            return (Vec::new(), false);
        }
        let begins = self.patterns.iter().map(|pattern| literal_prefix(pattern));
        let common = begins.reduce(|(one, _), (other, _)| {
            let pairs = one.iter().zip(&other);
            let same = pairs.take_while(|(one, other)| one == other).count();
            (one[..same].to_owned(), false)
        });
        common.unwrap_or_default()
    }
}

fn last_part(name: &[u8]) -> &[u8] {
    let slash = name.iter().rposition(|byte| *byte == b'/');
    slash.map_or(name, |slash| &name[slash + 1..])
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
    fn case_is_ignored_character_by_character() {
        let is_matched = |glob: &str, name: &[u8]| {
            let globs = Globs::ignoring_case([glob]).unwrap();
            assert!(globs.prefixes().all(|(name, _)| name.is_empty()));
            globs.matches(name, false)
        };
        for (glob, name) in [
            ("Thumbs.db", &b"a/THUMBS.DB"[..]),
            ("*.LOG", b"x.log"),
            ("/A/*/c", b"a/b/C"),
            ("\u{c9}t\u{c9}", "\u{e9}T\u{e9}".as_bytes()),
            ("[A-C]x", b"bX"),
            ("[a-c]x", b"BX"),
            ("[Z-a]", b"_"),
            // Lower case has two characters here.
            ("?", "\u{130}".as_bytes()),
            ("\u{130}", "\u{130}".as_bytes()),
            ("A?", b"a\xff"),
            ("{X,\\Y}", b"y"),
        ] {
            assert!(is_matched(glob, name), "{glob} {name:?}");
        }
        assert!(!is_matched("[!a]", b"A") && !is_matched("[!A]", b"a"));
        assert!(!is_matched("a", b"b") && !is_matched("a?", b"a\xff\xff"));
    }

    #[test]
    fn a_slash_at_the_end_is_for_directories_alone() {
        for glob in ["build/", "/build/", "buil[d]/"] {
            let globs = Globs::new([glob]).unwrap();
            assert!(!globs.matches(b"build", false) && globs.unmatched().eq([glob]));
            assert!(globs.matches(b"build", true) && globs.unmatched().next().is_none());
            globs.reset();
            assert!(globs.unmatched().eq([glob]));
        }
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        for (glob, why) in [
            ("", "it can match nothing"),
            ("./", "it can match nothing"),
            ("/", "it can match nothing"),
            ("a[b", "a '[' has no ']'"),
            ("a{b", "a '{' has no '}'"),
            ("a}", "a '}' has no '{'"),
            ("a\\", "it ends with a backslash"),
            ("[b-a]", "the range 'b-a' is empty"),
        ] {
            let error = Globs::new([glob]).unwrap_err();
            let told = format!("invalid glob '{}': {why}", glob.escape_debug());
            assert_eq!(format!("{error:#}"), told);
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
