//! Damage of an archive, and the findings of a check.
//!
//! Plain data: knows nothing of what the members hold.

use std::io;

/// The limit of affected entries that are named.
const ENTRIES_MAX: usize = 20;

/// Where and how an archive is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What kind of damage.
    pub kind: DamageKind,
    /// The byte of the file at which the member begins.
    pub offset: u64,
    /// For people.
    pub reason: String,
    /// What could be inflated of a corrupt member, unverified.
    pub salvage: Option<Salvage>,
}

/// What can be inflated of a corrupt member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvage {
    /// As much as could be inflated.
    pub content: Vec<u8>,
    /// Whether that is as long as the member states, so that the next member continues there.
    pub is_complete: bool,
}

/// What kind of damage an archive has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// It ends before the archive does.
    Truncated,
    /// A member cannot be inflated, or its checksum or length is wrong.
    Corrupt,
    /// A header is not as bk writes it, in an archive of bk's; the content follows. Only strict
    /// reading reports it.
    Odd,
    /// A header of an entry is malformed, in a member that is whole.
    BadHeader,
    /// Something follows the last member, or the end of the archive.
    Trailing,
    /// It is neither a `.tar.gz` nor a `.tar.zst`.
    NotAnArchive,
    /// The file cannot be read.
    Unreadable,
}

impl DamageKind {
    /// Its code in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Corrupt | Self::Odd => "corrupt-member",
            Self::BadHeader => "bad-header",
            Self::Trailing => "trailing-bytes",
            Self::NotAnArchive => "not-an-archive",
            Self::Unreadable => "unreadable",
        }
    }
}

impl std::error::Error for Damage {}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (at byte {} of the file)", self.reason, self.offset)
    }
}

impl Damage {
    pub(crate) fn new(kind: DamageKind, offset: u64, reason: &str) -> Self {
        Self {
            kind,
            offset,
            reason: reason.to_owned(),
            salvage: None,
        }
    }

    /// From an error while inflating the member at `offset` as a stream.
    pub(crate) fn of(error: &io::Error, offset: u64) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Self::new(DamageKind::Truncated, offset, "it is cut short")
            }
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Self::new(
                DamageKind::Corrupt,
                offset,
                &format!("it is damaged: {error}"),
            ),
            _ => Self::new(DamageKind::Unreadable, offset, &error.to_string()),
        }
    }
}

/// One defect of an archive, as a check finds it.
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
