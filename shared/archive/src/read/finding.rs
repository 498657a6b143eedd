//! The findings of a check.
//!
//! Plain data: reads nothing.

use crate::format::damage::DamageKind;

/// The limit of affected entries that are named.
pub(crate) const ENTRIES_MAX: usize = 20;

/// One defect of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub kind: DamageKind,
    /// The byte of the file at which the member begins.
    pub offset: u64,
    /// For people.
    pub reason: String,
    /// The names of the first affected entries.
    pub entries: Vec<Vec<u8>>,
    /// The number of affected entries, as far as it is known.
    pub entry_count: u64,
}

impl Finding {
    pub(crate) fn new(kind: DamageKind, offset: u64, reason: &str) -> Self {
        Self {
            kind,
            offset,
            reason: reason.to_owned(),
            entries: Vec::new(),
            entry_count: 0,
        }
    }

    pub(crate) fn hits(&mut self, entry: &[u8]) {
        if self.entries.last().is_some_and(|last| last == entry) {
            return;
        }
        self.entry_count += 1;
        if self.entries.len() < ENTRIES_MAX {
            self.entries.push(entry.to_vec());
        }
    }
}
