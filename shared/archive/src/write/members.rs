//! Cuts the tar stream into the contents of members.
//!
//! The entries themselves decide where a member ends, not their distance from the start: an added or
//! changed file changes only its own member. Knows no compression.

use std::io;

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

use crate::format::entry::{Entry, Extent};
use crate::format::header;
use crate::pool::Jobs;
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

/// The same, and the number of bytes read.
pub(crate) type Outcome = (Read, u64);

/// Takes members in the order of the archive, and passes them on to be compressed and written.
pub(crate) struct Out(pub(crate) Jobs<Vec<u8>, Result<Vec<u8>>>);

const STOPPED: &str = "the archive can no longer be written";

impl Out {
    /// One that is to be compressed.
    pub(crate) fn content(&self, content: Vec<u8>) -> Result<()> {
        ensure!(self.0.job(content), STOPPED);
        Ok(())
    }

    /// One as it is to be written.
    pub(crate) fn member(&self, member: Vec<u8>) -> Result<()> {
        ensure!(self.0.result(Ok(member)), STOPPED);
        Ok(())
    }
}

/// Collects the stream and passes on the content of each member once it is complete.
pub(crate) struct Members {
    content: Vec<u8>,
    out: Out,
}

impl Members {
    pub(crate) fn new(out: Out) -> Self {
        Self {
            content: Vec::new(),
            out,
        }
    }

    /// The first member has the global header alone.
    pub(crate) fn global(&mut self, comment: &str) -> Result<()> {
        header::push_global(&mut self.content, comment);
        self.cut()
    }

    /// Adds an entry and its content. The header states the size, so exactly that many bytes follow,
    /// whatever reading the file brings.
    pub(crate) fn entry(
        &mut self,
        entry: &Entry,
        content: Option<&Content>,
        mut read_bytes: impl FnMut(u64) -> Result<()>,
    ) -> Result<Outcome> {
        let is_large = entry.data_bytes() >= PIECE_BYTES;
        if is_large {
            self.cut()?;
        }
        let begin = self.content.len();
        header::push_entry(&mut self.content, entry);
        let mut outcome = (Read::Whole, 0);
        if let Some(content) = content {
            for extent in entry.data().iter() {
                self.extent(content, *extent, &mut outcome, &mut read_bytes)?;
            }
        }
        header::pad(&mut self.content);
        let is_end = is_large || ends_member(&entry.path, self.content.len() - begin);
        if is_end || self.content.len() >= MEMBER_MAX_BYTES {
            self.cut()?;
        }
        Ok(outcome)
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
            let is_last = rest <= PIECE_BYTES + PIECE_SLACK_BYTES;
            let piece = if is_last { rest } else { PIECE_BYTES };
            // A piece is at most 1.25 MiB.
            let from = self.content.len();
            self.content.resize(from + piece as usize, 0);
            if let (Read::Whole, bytes) = outcome {
                let (read, more) = read_full(content, at, &mut self.content[from..]);
                *outcome = (read, *bytes + more);
            }
            at += piece;
            if at < end {
                self.cut()?;
            }
            read_bytes(piece)?;
        }
        Ok(())
    }

    /// The last member has the end-of-archive blocks alone.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.cut()?;
        self.content.resize(2 * header::BLOCK_BYTES, 0);
        self.cut()
    }

    fn cut(&mut self) -> Result<()> {
        if self.content.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(PIECE_BYTES as usize);
        self.out.content(std::mem::replace(&mut self.content, next))
    }
}

/// Whether an entry ends its member, by the hash of its name. The probability is proportional to its
/// size, so that members have [`PIECE_BYTES`] on average.
fn ends_member(path: &[u8], entry_bytes: usize) -> bool {
    let digest = Sha256::digest(path);
    let first = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    u64::from(first) < (entry_bytes as u64) * (1 << 32) / PIECE_BYTES
}

/// Fills `piece` from the file as far as possible, and returns the number of bytes.
fn read_full(content: &Content, begin: u64, mut piece: &mut [u8]) -> Outcome {
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
