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
    pub kind: FindingKind,
    /// The byte of the file at which the member begins.
    pub offset: u64,
    /// For people.
    pub reason: String,
    /// The names of the first affected entries.
    pub entries: Vec<Vec<u8>>,
    /// The number of affected entries, as far as it is known.
    pub entry_count: u64,
}

/// The kind of a defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// The file cannot be read.
    Unreadable,
    /// It ends before the archive does.
    Truncated,
    /// A member is not what was written.
    CorruptMember,
    /// A header of an entry is malformed, in a member that is whole.
    BadHeader,
    /// Something follows the end.
    TrailingBytes,
    /// It is not a `.tar.gz`.
    NotAnArchive,
}

impl FindingKind {
    /// Its code in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Truncated => "truncated",
            Self::CorruptMember => "corrupt-member",
            Self::BadHeader => "bad-header",
            Self::TrailingBytes => "trailing-bytes",
            Self::NotAnArchive => "not-an-archive",
        }
    }
}

impl From<DamageKind> for FindingKind {
    fn from(kind: DamageKind) -> Self {
        match kind {
            DamageKind::Truncated => Self::Truncated,
            DamageKind::Corrupt | DamageKind::Odd => Self::CorruptMember,
            DamageKind::Trailing => Self::TrailingBytes,
            DamageKind::NotGzip => Self::NotAnArchive,
            DamageKind::Unreadable => Self::Unreadable,
        }
    }
}

impl Finding {
    pub(crate) fn new(kind: FindingKind, offset: u64, reason: &str) -> Self {
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
