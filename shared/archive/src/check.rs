//! The check of one archive: every member, every header and every byte.
//!
//! Goes on after a corrupt member where bk's own members say where the next entry begins, and
//! tells which entries each one hits. Knows no record: what the archive should be is for the
//! caller to compare.

use std::fs::File;

use anyhow::Result;

use crate::damage::DamageKind;
use crate::entry::{Entry, Kind};
use crate::hashed::Whole;
use crate::inflate::Inflate;
use crate::pieces::Pieces;
use crate::reader::Reader;

/// So many of the entries that a corrupt member hits are named.
const ENTRIES_MAX: usize = 20;

/// What a whole reading of an archive brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The file itself; `None` where it could not be read to its end.
    pub whole: Option<Whole>,
    /// Entries that are no directories; `None` where some could not be read.
    pub file_count: Option<u64>,
    /// What is wrong, in the order of the file.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub kind: FindingKind,
    /// Of the member in the file, in bytes.
    pub offset: u64,
    /// For people.
    pub reason: String,
    /// Names of the entries that it hits, the first twenty of them.
    pub entries: Vec<Vec<u8>>,
    /// How many it hits, as far as that can be told.
    pub entry_count: u64,
}

/// What can be wrong with an archive.
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
    /// It is no `.tar.gz`.
    NotAnArchive,
}

impl FindingKind {
    /// The name that it has in a line.
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

    fn hits(&mut self, entry: &[u8]) {
        if self.entries.last().is_some_and(|last| last == entry) {
            return;
        }
        self.entry_count += 1;
        if self.entries.len() < ENTRIES_MAX {
            self.entries.push(entry.to_vec());
        }
    }
}

/// Reads the whole of `file`, inflating with so many threads. `go_on` is told of the bytes of
/// the file that were read; `None` where it says no.
pub fn check(file: File, jobs: usize, go_on: &mut dyn FnMut(u64) -> bool) -> Option<Checked> {
    let pieces = Pieces::new(Inflate::strict(file, jobs), go_on);
    let mut check = Check {
        reader: Reader::new(pieces),
        entry: None,
        entry_count: 0,
        file_count: 0,
        is_gap: false,
    };
    while let Err(error) = check.entries() {
        check.judge(&error);
        check.hit();
        if check.reader.is_over() {
            break;
        }
        check.is_gap = true;
        let mut pieces = check.reader.into_input();
        let is_found = pieces.find_entry();
        check.reader = Reader::new(pieces);
        // Until the next one begins, it is the last one that goes on.
        check.hit();
        check.entry = None;
        if !is_found {
            break;
        }
    }
    let Check {
        reader,
        file_count,
        is_gap,
        ..
    } = check;
    let (whole, findings) = reader.into_input().finish()?;
    Some(Checked {
        whole,
        file_count: (!is_gap).then_some(file_count),
        findings,
    })
}

struct Check<'a> {
    reader: Reader<Pieces<'a>>,
    /// The name of the one that is being read.
    entry: Option<Vec<u8>>,
    entry_count: u64,
    file_count: u64,
    /// Whether some entries could not be read.
    is_gap: bool,
}

impl Check<'_> {
    /// To the end of the archive.
    fn entries(&mut self) -> Result<()> {
        while let Some(entry) = self.reader.next_entry()? {
            self.count(&entry);
            self.entry = Some(entry.path);
            self.reader.pass_over()?;
            self.hit();
            self.entry = None;
        }
        Ok(())
    }

    fn count(&mut self, entry: &Entry) {
        self.entry_count += 1;
        self.file_count += u64::from(entry.kind != Kind::Directory);
    }

    /// Notes that the entry that is being read is hit by what was met since the last time.
    fn hit(&mut self) {
        for finding in self.reader.input().take_met() {
            if let Some(entry) = &self.entry {
                finding.hits(entry);
            }
        }
    }

    /// Why the entries cannot be read on, unless that follows from what was found already.
    fn judge(&mut self, error: &anyhow::Error) {
        let is_over = self.reader.is_over();
        let is_first = self.entry_count == 0 && !self.is_gap && self.reader.comment().is_none();
        let pieces = self.reader.input();
        if pieces.is_suspect() {
            return;
        }
        let (kind, reason) = if is_first && !is_over {
            let reason = "it holds no tar archive".to_owned();
            (FindingKind::NotAnArchive, reason)
        } else if pieces.is_at_end() {
            let reason = "it ends before the end of the archive".to_owned();
            (FindingKind::Truncated, reason)
        } else if is_over {
            let reason = "something follows the end of the archive".to_owned();
            (FindingKind::TrailingBytes, reason)
        } else {
            (FindingKind::BadHeader, format!("{error:#}"))
        };
        pieces.find(kind, &reason);
    }
}
