//! Notes about oddities in archives of other programs that are tolerated. Their number is bounded.
//!
//! Knows no archive: the reader decides what is odd.

use std::collections::BTreeMap;

/// The kind of an oddity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Oddity {
    /// An entry that cannot be restored.
    Unusable,
    /// A type that POSIX does not know.
    Type,
    /// A part of a file that continues on another volume.
    Part,
    /// A value that is malformed or out of range.
    Value,
    /// A size without data.
    Size,
    /// A header of another program with nothing to restore.
    Extension,
    /// No end-of-archive blocks.
    NoEnd,
    /// Bytes after the end of the archive.
    AfterEnd,
    /// Bytes after the last member.
    AfterLast,
}

/// The oddities of one archive: a text for the first of each kind, and their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes(BTreeMap<Oddity, (String, u64)>);

impl Notes {
    pub(crate) fn add(&mut self, oddity: Oddity, text: impl FnOnce() -> String) {
        let (_, count) = self.0.entry(oddity).or_insert_with(|| (text(), 0));
        *count += 1;
    }

    /// One text per kind.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let text = |(text, count): &(String, u64)| match count {
            1 => text.clone(),
            count => format!("{text}; and {} more like it", count - 1),
        };
        self.0.values().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_of_a_kind_are_one_note() {
        let mut notes = Notes::default();
        notes.add(Oddity::NoEnd, || "no end".into());
        for name in ["a", "b", "c"] {
            notes.add(Oddity::Type, || format!("'{name}' is odd"));
        }
        assert_eq!(notes.texts(), ["'a' is odd; and 2 more like it", "no end"]);
    }
}
