//! Globs as people write them, compared with plain names: the only place that knows them.
//!
//! Knows what a slash at their begin or end means, and which of them met something; neither a
//! file system nor an entry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};

use crate::pattern::{Part, begin_of, is_path, patterns};

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
    has_matched: AtomicBool,
}

impl Globs {
    /// # Errors
    /// The glob that is malformed, empty, or means something here that it does not elsewhere.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut globs = Self::default();
        for text in texts {
            let no_glob = || format!("invalid glob '{}'", text.escape_debug());
            let glob = Glob::new(text).with_context(no_glob)?;
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
    pub fn unmatched(&self) -> impl Iterator<Item = usize> {
        let is_unmatched = |glob: &Glob| !glob.has_matched.load(Ordering::Relaxed);
        let all = self.all.iter().enumerate();
        all.filter(move |(_, glob)| is_unmatched(glob))
            .map(|(number, _)| number)
    }

    /// From here on none has met anything.
    pub fn reset(&self) {
        for glob in &self.all {
            glob.has_matched.store(false, Ordering::Relaxed);
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
        Ok(Self {
            text: text.to_owned(),
            is_anywhere: !whole.contains('/'),
            is_for_dirs,
            patterns: patterns(rest)?,
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
    fn a_slash_at_the_end_is_for_directories_alone() {
        for glob in ["build/", "/build/", "buil[d]/"] {
            let globs = Globs::new([glob]).unwrap();
            assert!(!globs.matches(b"build", false) && globs.unmatched().eq([0]));
            assert!(globs.matches(b"build", true) && globs.unmatched().eq([]));
            globs.reset();
            assert!(globs.unmatched().eq([0]));
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
