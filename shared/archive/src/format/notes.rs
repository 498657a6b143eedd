//! What is odd in an archive of another program and is read all the same: told to people as notes,
//! bounded however odd the archive is.
//!
//! Knows no archive and decides nothing: whoever reads says what is odd.

use std::collections::BTreeMap;

/// In what way an archive is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Oddity {
    /// An entry that nothing can be made of.
    Unusable,
    /// A type that POSIX does not know.
    Type,
    /// A part of a file that other volumes hold the rest of.
    Part,
    /// A fact that is malformed or out of range.
    Value,
    /// A size where no data follows.
    Size,
    /// A header of another program that tells nothing that can be restored.
    Extension,
    /// No end of the archive.
    NoEnd,
    /// Bytes after the end of the archive.
    AfterEnd,
    /// Bytes after the last gzip member.
    AfterLast,
}

/// The oddities of one archive: the first of each kind in words, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes(BTreeMap<Oddity, (String, u64)>);

impl Notes {
    pub(crate) fn add(&mut self, oddity: Oddity, text: impl FnOnce() -> String) {
        let (_, count) = self.0.entry(oddity).or_insert_with(|| (text(), 0));
        *count += 1;
    }

    /// A sentence for each kind.
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
