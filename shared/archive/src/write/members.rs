//! Cuts the tar stream into the contents of members.
//!
//! The entries themselves decide where a member ends, not their distance from the start: an added or
//! changed file changes only its own segment, which is one member of small files or all those of a
//! large one. Knows no compression.

use std::io;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bk_schema::manifest::{self, Hash, Member, Segment};
use sha2::{Digest, Sha256};

use crate::format::codec::Codec;
use crate::format::entry::{Entry, Extent};
use crate::format::header;
use crate::pool::Jobs;
use crate::write::content::Content;
use crate::write::parent::{Archive, Archived, Pieces, Taken};
use crate::write::piece::{self, PIECE_BYTES};

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

/// Where a member belongs.
#[derive(Debug)]
pub(crate) enum Part {
    /// The begin of the archive, which holds no entry.
    Begin,
    /// The end of the archive, which holds none either.
    End,
    /// A member of a large file, with more of them to come.
    Piece,
    /// The last or only member of a segment: its entries, and whether they end it, whatever comes next.
    Last(Vec<manifest::Entry>, bool),
    /// The last member of a stream: its entry, and the first member as it is to be by now.
    LastOfStream(Box<manifest::Entry>, Vec<u8>),
}

impl Part {
    /// Whether a group of members ends here, which is so long on average. It depends on the entries
    /// alone.
    pub(crate) fn ends_group(&self, group_bytes: u64, member_bytes: u64) -> bool {
        match self {
            Self::Begin | Self::Piece | Self::LastOfStream(..) => true,
            Self::End => false,
            Self::Last(_, false) => true,
            Self::Last(entries, true) => entries.last().is_none_or(|last| {
                let digest = Sha256::digest(&last.path);
                let number = u32::from_be_bytes([digest[4], digest[5], digest[6], digest[7]]);
                let one_in = group_bytes.div_ceil(member_bytes);
                last.data_bytes >= PIECE_BYTES || u64::from(number).is_multiple_of(one_in)
            }),
        }
    }
}

/// What a member is to hold.
pub(crate) struct Job {
    pub(crate) content: Vec<u8>,
    pub(crate) part: Part,
    /// Whether it is of a large file.
    pub(crate) is_large: bool,
    /// Members that are taken over where they hold just that.
    pub(crate) pieces: Option<Arc<Pieces>>,
}

/// A member as it is to be written.
pub(crate) struct Written {
    pub(crate) bytes: Vec<u8>,
    /// For the manifest.
    pub(crate) member: Member,
    pub(crate) part: Part,
    /// Where it was taken over from.
    pub(crate) origin: Option<Origin>,
}

/// A place in the archive of the parent.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) archive: Arc<Archive>,
    pub(crate) offset: u64,
}

impl Written {
    pub(crate) fn new(bytes: Vec<u8>, content_hash: Option<Hash>, part: Part) -> Result<Self> {
        let member = Member {
            bytes: u32::try_from(bytes.len()).context("a member is longer than 4 GiB")?,
            padding_bytes: 0,
            hash: blake3::hash(&bytes).into(),
            content_hash,
        };
        Ok(Self {
            bytes,
            member,
            part,
            origin: None,
        })
    }

    pub(crate) fn taken(taken: Taken, part: Part) -> Self {
        Self {
            bytes: taken.bytes,
            member: taken.member,
            part,
            origin: Some(Origin {
                archive: taken.archive,
                offset: taken.offset,
            }),
        }
    }
}

/// Takes members in the order of the archive, and passes them on to be compressed and written.
pub(crate) struct Out(pub(crate) Jobs<Job, Result<Written>>);

const STOPPED: &str = "the archive can no longer be written";

impl Out {
    /// One that is to be compressed.
    pub(crate) fn job(&self, job: Job) -> Result<()> {
        ensure!(self.0.job(job), STOPPED);
        Ok(())
    }

    /// One as it is to be written.
    pub(crate) fn member(&self, member: Result<Written>) -> Result<()> {
        ensure!(self.0.result(member), STOPPED);
        Ok(())
    }
}

/// What the parent has of a large file.
pub(crate) enum Earlier {
    /// The very same file.
    Same(Archived),
    /// What may be the same in parts.
    Other(Arc<Pieces>),
}

/// Takes over the members of a file one by one.
type Taking = Box<dyn FnMut() -> Option<Taken>>;

/// Collects the stream and passes on the content of each member once it is complete.
pub(crate) struct Members {
    content: Vec<u8>,
    entries: Vec<manifest::Entry>,
    codec: Codec,
    out: Out,
    /// The large file that is being added.
    is_large: bool,
    pieces: Option<Arc<Pieces>>,
    taking: Option<Taking>,
    /// The member to be written in the place of the content.
    taken: Option<Taken>,
}

impl Members {
    pub(crate) fn new(codec: Codec, out: Out) -> Self {
        Self {
            content: Vec::new(),
            entries: Vec::new(),
            codec,
            out,
            is_large: false,
            pieces: None,
            taking: None,
            taken: None,
        }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// Ends the segment: what is given to the result has members of its own.
    pub(crate) fn apart(&mut self) -> Result<&Out> {
        self.end_segment(false)?;
        Ok(&self.out)
    }

    /// Whether a segment begins here.
    pub(crate) fn is_at_cut(&self) -> bool {
        self.content.is_empty()
    }

    /// The first member has the global header alone.
    pub(crate) fn global(&mut self, comment: &str) -> Result<()> {
        header::push_global(&mut self.content, comment);
        self.cut(Part::Begin)
    }

    /// Adds a segment of the parent, whose one member that is.
    pub(crate) fn take(&mut self, taken: Taken, segment: Segment) -> Result<()> {
        let part = Part::Last(segment.entries, segment.ends_itself);
        self.out.member(Ok(Written::taken(taken, part)))
    }

    /// Adds an entry and its content. The header states the size, so exactly that many bytes follow,
    /// whatever reading the file brings. `row` makes the entry of the manifest once it was read.
    pub(crate) fn entry(
        &mut self,
        entry: &Entry,
        content: Option<&Content>,
        earlier: Option<Earlier>,
        mut read_bytes: impl FnMut(u64) -> Result<()>,
        row: impl FnOnce(&Outcome) -> manifest::Entry,
    ) -> Result<Outcome> {
        self.is_large = entry.data_bytes() >= PIECE_BYTES;
        if self.is_large {
            self.end_segment(false)?;
        }
        self.prepare(entry, earlier);
        let begin = self.content.len();
        header::push_entry(&mut self.content, entry);
        let mut outcome = (Read::Whole, 0);
        if let Some(content) = content {
            for extent in entry.data().iter() {
                self.extent(content, *extent, &mut outcome, &mut read_bytes)?;
            }
        }
        header::pad(&mut self.content);
        self.entries.push(row(&outcome));
        let is_end = self.is_large || self.is_last(&entry.path, self.content.len() - begin);
        if is_end || self.content.len() >= MEMBER_MAX_BYTES {
            self.end_segment(true)?;
        }
        (self.is_large, self.pieces, self.taking) = (false, None, None);
        Ok(outcome)
    }

    /// Finds out what can be taken over of a large file.
    fn prepare(&mut self, entry: &Entry, earlier: Option<Earlier>) {
        match earlier.filter(|_| self.is_large) {
            Some(Earlier::Same(archived)) => {
                // With holes a member may hold parts of several pieces.
                let data = entry.data();
                let is_whole = data.len() == 1 && data[0].length == entry.size;
                if is_whole && archived.member_count() as u64 == piece::count(entry.size) {
                    self.taking = Some(Box::new(archived.members()));
                } else {
                    self.pieces = Some(Arc::new(archived.pieces()));
                }
            }
            Some(Earlier::Other(pieces)) => self.pieces = Some(pieces),
            None => {}
        }
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
            let piece = piece::next_bytes(end - at);
            self.taken = self.taking.as_mut().and_then(|take| take());
            if self.taken.is_none() {
                // A piece is at most 1.25 MiB.
                let from = self.content.len();
                self.content.resize(from + piece as usize, 0);
                if let (Read::Whole, bytes) = outcome {
                    let (read, more) = read_full(content, at, &mut self.content[from..]);
                    *outcome = (read, *bytes + more);
                }
            } else {
                outcome.1 += piece;
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
        self.end_segment(false)?;
        self.content.resize(2 * header::BLOCK_BYTES, 0);
        self.cut(Part::End)
    }

    fn end_segment(&mut self, ends_itself: bool) -> Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.entries);
        self.cut(Part::Last(entries, ends_itself))
    }

    fn cut(&mut self, part: Part) -> Result<()> {
        if let Some(taken) = self.taken.take() {
            self.content.clear();
            return self.out.member(Ok(Written::taken(taken, part)));
        }
        let next = Vec::with_capacity(2 * self.codec.average_bytes() as usize);
        self.out.job(Job {
            content: std::mem::replace(&mut self.content, next),
            part,
            is_large: self.is_large,
            pieces: self.pieces.clone(),
        })
    }

    /// Whether an entry ends its member, by the hash of its name. The probability is proportional to its
    /// size, so that members have the average length of the codec.
    fn is_last(&self, path: &[u8], entry_bytes: usize) -> bool {
        let digest = Sha256::digest(path);
        let first = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        u64::from(first) < (entry_bytes as u64) * (1 << 32) / self.codec.average_bytes()
    }
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
