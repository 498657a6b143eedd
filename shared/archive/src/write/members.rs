//! Cuts the tar stream into the contents of members.
//!
//! The entries themselves decide where a member ends, not their distance from the start: an added or
//! changed file changes only its own segment, which is one member of small files or all those of a
//! large one. Knows no compression.

use std::io;

use anyhow::Result;
use bk_schema::manifest;
use sha2::{Digest, Sha256};

use crate::format::entry::{Entry, Extent, Kind};
use crate::format::header;
use crate::write::content::Content;

/// The average content of a member, and the size of the pieces of a large file.
pub(crate) const PIECE_BYTES: u64 = 1 << 20;
/// The last piece may be this much longer, to avoid tiny members.
const PIECE_SLACK_BYTES: u64 = PIECE_BYTES / 4;
/// The limit for members of small files, in case no name ends one.
const MEMBER_MAX_BYTES: usize = 4 << 20;

/// The result of reading a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Whole,
    /// It ended early: the rest is zeros.
    Short,
    /// It failed: the rest is zeros.
    Failed(String),
}

/// The result of reading a file, and the number of bytes read.
pub(crate) struct Outcome {
    pub(crate) read: Read,
    pub(crate) bytes: u64,
    /// With its header, in the stream.
    entry_bytes: usize,
}

/// Where a member belongs.
#[derive(Debug)]
pub(crate) enum Part {
    /// The begin or the end of the archive, which hold no entry.
    Frame,
    /// A member of a large file, with more of them to come.
    Piece,
    /// The last or only member of a segment: its entries.
    Last(Vec<manifest::Entry>),
}

/// Collects the stream and passes on the content of each member once it is complete.
pub(crate) struct Members<F> {
    content: Vec<u8>,
    entries: Vec<manifest::Entry>,
    hand_on: F,
}

impl<F: FnMut(Vec<u8>, Part) -> Result<()>> Members<F> {
    pub(crate) fn new(hand_on: F) -> Self {
        Self {
            content: Vec::new(),
            entries: Vec::new(),
            hand_on,
        }
    }

    /// The first member has the global header alone.
    pub(crate) fn global(&mut self, comment: &str) -> Result<()> {
        header::push_global(&mut self.content, comment);
        self.cut(Part::Frame)
    }

    /// Adds an entry and its content, to be ended by [`Members::end_entry`]. The header states the size, so exactly that many bytes follow,
    /// whatever reading the file brings.
    pub(crate) fn entry(
        &mut self,
        entry: &Entry,
        content: Option<&Content>,
        mut read_bytes: impl FnMut(u64) -> Result<()>,
    ) -> Result<Outcome> {
        if is_large(entry) {
            self.end_segment()?;
        }
        let begin = self.content.len();
        header::push_entry(&mut self.content, entry);
        let mut outcome = Outcome {
            read: Read::Whole,
            bytes: 0,
            entry_bytes: 0,
        };
        if let Some(content) = content {
            for extent in extents_of(entry) {
                self.extent(content, extent, &mut outcome, &mut read_bytes)?;
            }
        }
        header::pad(&mut self.content);
        // Of a large one this is not all, and it does not matter.
        outcome.entry_bytes = self.content.len().saturating_sub(begin);
        Ok(outcome)
    }

    /// Ends an entry with its row of the manifest.
    pub(crate) fn end_entry(
        &mut self,
        entry: &Entry,
        outcome: &Outcome,
        row: manifest::Entry,
    ) -> Result<()> {
        self.entries.push(row);
        let is_end = is_large(entry) || ends_member(&entry.path, outcome.entry_bytes);
        if is_end || self.content.len() >= MEMBER_MAX_BYTES {
            self.end_segment()?;
        }
        Ok(())
    }

    fn extent(
        &mut self,
        content: &Content,
        extent: Extent,
        outcome: &mut Outcome,
        read_bytes: &mut impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut at = extent.offset;
        let end = extent.offset + extent.length;
        while at < end {
            let rest = end - at;
            let piece = if rest <= PIECE_BYTES + PIECE_SLACK_BYTES {
                rest
            } else {
                PIECE_BYTES
            };
            // A piece is at most 1.25 MiB.
            let from = self.content.len();
            self.content.resize(from + piece as usize, 0);
            if outcome.read == Read::Whole {
                let (read, bytes) = read_full(content, at, &mut self.content[from..]);
                outcome.read = read;
                outcome.bytes += bytes;
            }
            at += piece;
            if at < end {
                self.cut(Part::Piece)?;
            }
            read_bytes(piece)?;
        }
        Ok(())
    }

    /// The last member has the end-of-archive blocks alone.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.end_segment()?;
        self.content.resize(2 * header::BLOCK_BYTES, 0);
        self.cut(Part::Frame)
    }

    fn end_segment(&mut self) -> Result<()> {
        if self.content.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.entries);
        self.cut(Part::Last(entries))
    }

    fn cut(&mut self, part: Part) -> Result<()> {
        let next = Vec::with_capacity(PIECE_BYTES as usize);
        (self.hand_on)(std::mem::replace(&mut self.content, next), part)
    }
}

/// Whether an entry has members of its own.
fn is_large(entry: &Entry) -> bool {
    entry.data_bytes() >= PIECE_BYTES
}

fn extents_of(entry: &Entry) -> Vec<Extent> {
    match &entry.kind {
        Kind::File {
            extents: Some(extents),
        } => extents.clone(),
        Kind::File { extents: None } => vec![Extent {
            offset: 0,
            length: entry.size,
        }],
        _ => Vec::new(),
    }
}

/// Whether an entry ends its member, by the hash of its name. The probability is proportional to its
/// size, so that members have [`PIECE_BYTES`] on average.
fn ends_member(path: &[u8], entry_bytes: usize) -> bool {
    let digest = Sha256::digest(path);
    let first = digest
        .iter()
        .take(4)
        .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    first < (entry_bytes as u64) * (1 << 32) / PIECE_BYTES
}

/// Fills `piece` from the file as far as possible, and returns the number of bytes.
fn read_full(content: &Content, begin: u64, mut piece: &mut [u8]) -> (Read, u64) {
    let mut at = begin;
    let read = loop {
        if piece.is_empty() {
            break Read::Whole;
        }
        match content.read_at(piece, at) {
            Ok(0) => break Read::Short,
            Ok(count) => {
                at += count as u64;
                piece = &mut piece[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Read::Failed(error.to_string()),
        }
    };
    (read, at - begin)
}
