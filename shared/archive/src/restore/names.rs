//! Selects entries by their normalized names.
//!
//! Pure functions of bytes; knows no file system and no entry.

use std::collections::HashMap;

use anyhow::Result;

pub use bk_schema::entry_name::{DEPTH_MAX, normalize};
use bk_schema::globs::Globs;

/// A normalized name without its first `count` parts; `None` if it has no more.
#[must_use]
pub fn strip(name: &[u8], count: usize) -> Option<&[u8]> {
    let mut parts = name.splitn(count.saturating_add(1), |byte| *byte == b'/');
    parts.nth(count)
}

/// The rest of `name` below `dir`, both normalized; empty if they are equal.
#[must_use]
pub fn below<'a>(name: &'a [u8], dir: &[u8]) -> Option<&'a [u8]> {
    match name.strip_prefix(dir)? {
        rest if dir.is_empty() || rest.is_empty() => Some(rest),
        rest => rest.strip_prefix(b"/"),
    }
}

/// The parents of a normalized name, the topmost first, then the name itself.
pub fn with_parents(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = name.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let ends = ends.map(|(at, _)| at).chain([name.len()]);
    ends.map(|end| &name[..end])
}

/// A range of names in the order of bk's archives: a name and all below it, or all names with a
/// prefix.
#[derive(Debug, Clone)]
pub struct NameRange {
    /// The start of the range, in the order of names part by part. The range is contiguous.
    pub(crate) name: Vec<u8>,
    is_prefix: bool,
}

/// With more ranges it takes longer to find them in an archive than to read all of it.
const RANGES_MAX: usize = 1000;

/// A path that is selected.
#[derive(Debug, Default)]
struct Chosen {
    /// Its indices among those that were given.
    numbers: Vec<usize>,
    /// Whether what is below it is selected too.
    is_with_below: bool,
}

/// The selected entries: those at or below a path, and those that a glob matches.
#[derive(Debug, Default)]
pub struct Selection {
    paths: HashMap<Vec<u8>, Chosen>,
    globs: Globs,
    ranges: Vec<NameRange>,
}

impl Selection {
    /// Without paths and globs everything is selected.
    ///
    /// # Errors
    /// A path with `..`, a malformed glob.
    pub fn new(paths: &[&[u8]], globs: &[&str]) -> Result<Self> {
        Self::of(paths.iter().map(|path| (*path, true)), globs)
    }

    /// Single entries, of which some are selected with what is below them.
    ///
    /// # Errors
    /// A path with `..`.
    pub fn of_entries<'a>(paths: impl IntoIterator<Item = (&'a [u8], bool)>) -> Result<Self> {
        Self::of(paths, &[])
    }

    fn of<'a>(given: impl IntoIterator<Item = (&'a [u8], bool)>, globs: &[&str]) -> Result<Self> {
        let all = Globs::new(globs.iter().copied())?;
        let mut paths: HashMap<Vec<u8>, Chosen> = HashMap::new();
        for (number, (path, is_with_below)) in given.into_iter().enumerate() {
            let chosen = paths.entry(normalize(path)?).or_default();
            chosen.numbers.push(number);
            chosen.is_with_below |= is_with_below;
        }
        let ranges = paths.keys().cloned().map(NameRange::path);
        let by_glob = all.prefixes().map(|(name, is_whole)| NameRange {
            name,
            is_prefix: !is_whole,
        });
        let ranges = ranges.chain(by_glob);
        Ok(Self {
            ranges: ranges.collect(),
            globs: all,
            paths,
        })
    }

    /// Ranges that include all selected names; `None` if they can be anywhere.
    #[must_use]
    pub fn ranges(&self) -> Option<&[NameRange]> {
        let is_anywhere = self.ranges.len() > RANGES_MAX
            || self.ranges.iter().any(|ranges| ranges.name.is_empty());
        (!self.is_all() && !is_anywhere).then_some(&self.ranges)
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.paths.is_empty() && self.globs.is_empty()
    }

    /// Whether a normalized name is selected; `met` is called with the index of each path that it is at
    /// or below.
    pub fn takes(&self, name: &[u8], mut met: impl FnMut(usize)) -> bool {
        if self.is_all() {
            return true;
        }
        let mut is_taken = false;
        let dirs = [&b""[..]].into_iter().chain(with_parents(name));
        let dirs = dirs.take(if name.is_empty() { 1 } else { usize::MAX });
        for dir in dirs {
            let chosen = self.paths.get(dir);
            if let Some(chosen) = chosen.filter(|it| it.is_with_below || dir == name) {
                chosen.numbers.iter().copied().for_each(&mut met);
                is_taken = true;
            }
        }
        // Always evaluated, as globs remember that they have matched.
        self.is_matched(name) || is_taken
    }

    /// Whether a glob matches the name or one of its parents.
    fn is_matched(&self, name: &[u8]) -> bool {
        if self.globs.is_empty() {
            return false;
        }
        let matched = with_parents(name).filter(|name| self.globs.matches(name, true));
        matched.count() > 0
    }

    /// Forgets which globs have matched.
    pub fn reset(&self) {
        self.globs.reset();
    }

    /// The globs that have not matched since.
    pub fn unmatched(&self) -> impl Iterator<Item = &str> {
        self.globs.unmatched()
    }
}

impl NameRange {
    /// A normalized name and all below it.
    #[must_use]
    pub fn path(name: Vec<u8>) -> Self {
        Self {
            name,
            is_prefix: false,
        }
    }

    /// Whether a normalized name is in the range.
    pub(crate) fn holds(&self, name: &[u8]) -> bool {
        if self.is_prefix {
            name.starts_with(&self.name)
        } else {
            below(name, &self.name).is_some()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_stripped_whole() {
        assert_eq!(strip(b"a/b/c", 2), Some(&b"c"[..]));
        assert_eq!(strip(b"a/b", 2), None);
        assert_eq!(strip(b"", 0), Some(&b""[..]));
        assert_eq!(below(b"a/b", b"a"), Some(&b"b"[..]));
        assert_eq!(below(b"ab", b"a"), None);
        assert_eq!(below(b"a", b""), Some(&b"a"[..]));
    }

    #[test]
    fn paths_take_what_is_below_and_globs_names_or_paths() {
        let takes = |paths: &[&[u8]], globs: &[&str], name: &str| {
            Selection::new(paths, globs)
                .unwrap()
                .takes(name.as_bytes(), |_| {})
        };
        assert!(takes(&[], &[], "any"));
        assert!(takes(&[b"/a/b/"], &[], "a/b/c") && !takes(&[b"a/b"], &[], "a/bc"));
        assert!(takes(&[], &["*.conf"], "x/y.conf") && takes(&[], &["x"], "x/y"));
        assert!(takes(&[], &["a/*.c"], "a/b.c") && !takes(&[], &["a/*.c"], "a/b/d.c"));
        assert!(Selection::new(&[], &["a[b"]).is_err());
    }

    #[test]
    fn what_is_asked_for_is_sought_among_names_that_follow_one_another() {
        let ranges = |paths: &[&[u8]], globs: &[&str]| {
            let selection = Selection::new(paths, globs).unwrap();
            selection.ranges().map(|all| {
                let told = |it: &NameRange| {
                    let name = String::from_utf8_lossy(&it.name).into_owned();
                    (name, it.is_prefix)
                };
                all.iter().map(told).collect::<Vec<_>>()
            })
        };
        for (glob, name, is_prefix) in [
            ("a/b", "a/b", false),
            ("/a/", "a", false),
            ("a/b*/c", "a/b", true),
            ("a*/c", "a", true),
            ("a/**", "a/", true),
            ("a/{b,c}", "a/", true),
            ("a/b\\*", "a/b*", false),
        ] {
            let told = ranges(&[b"./x/"], &[glob]);
            let path = ("x".to_owned(), false);
            assert_eq!(
                told,
                Some(vec![path, (name.to_owned(), is_prefix)]),
                "{glob}"
            );
        }
        for anywhere in ["a", "a/", "*/a", "[a]/b", "*.c"] {
            assert_eq!(ranges(&[b"x"], &[anywhere]), None, "{anywhere}");
        }
        assert_eq!(ranges(&[b"/"], &[]), None);
        assert_eq!(ranges(&[], &[]), None);
    }
}
