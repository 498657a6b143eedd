//! The file of an archive as it grows: members, their padding, and its end.
//!
//! Where the storage shares blocks, groups of members are padded to whole blocks, and what is taken over
//! from the parent shares the blocks of its archive. Knows nothing of what members hold.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::format::codec::{Codec, Tail};
use crate::hashed::hex;
use crate::within::Within;
use crate::write::members::{Origin, Written};
use crate::write::parent::Archive;
use crate::write::piece::PIECE_BYTES;

/// Appends to an archive.
pub(crate) struct Output<'a> {
    sink: &'a mut dyn Write,
    archive: &'a File,
    block_bytes: Option<u32>,
    codec: Codec,
    hash: Sha256,
    tail: Tail,
    /// Its bytes so far, with those that wait.
    bytes: u64,
    new_bytes: u64,
    waiting: Option<Waiting>,
}

/// What is next in the archive, and stands in that of the parent.
struct Waiting {
    archive: Arc<Archive>,
    begin: u64,
    end: u64,
}

impl<'a> Output<'a> {
    pub(crate) fn new(
        codec: Codec,
        archive: &'a File,
        block_bytes: Option<u32>,
        sink: &'a mut dyn Write,
    ) -> Self {
        Self {
            sink,
            archive,
            block_bytes,
            codec,
            hash: Sha256::new(),
            tail: Tail::new(codec),
            bytes: 0,
            new_bytes: 0,
            waiting: None,
        }
    }

    /// Appends a member and the padding after it, whose length it gets.
    pub(crate) fn add(&mut self, written: &mut Written) -> io::Result<()> {
        let origin = written.origin.as_ref();
        self.tail.add(&written.bytes);
        self.append(&written.bytes, origin)?;
        written.member.padding_bytes = 0;
        let block_bytes = self.block_bytes.filter(|_| {
            let part = &written.part;
            part.ends_group(PIECE_BYTES, self.codec.average_bytes())
        });
        let padding = block_bytes.and_then(|it| self.codec.padding(self.bytes, it));
        let Some(padding) = padding else {
            return Ok(());
        };
        written.member.padding_bytes = padding.len() as u32;
        self.tail.add_padding(&padding);
        let after = origin.map(|it| Origin {
            archive: it.archive.clone(),
            offset: it.offset + written.bytes.len() as u64,
        });
        let same = after.filter(|it| it.archive.has(it.offset, &padding));
        self.append(&padding, same.as_ref())
    }

    /// Appends the end of the file. Its length, what of it was not taken over, and its SHA-256 in
    /// lower-case hex.
    pub(crate) fn finish(mut self) -> Result<(u64, u64, String)> {
        let tail = std::mem::replace(&mut self.tail, Tail::Nothing).finish()?;
        self.append(&tail, None)?;
        Ok((self.bytes, self.new_bytes, hex(self.hash)))
    }

    /// `origin` is where the parent has the same bytes.
    fn append(&mut self, bytes: &[u8], origin: Option<&Origin>) -> io::Result<()> {
        self.hash.update(bytes);
        let at = self.bytes;
        let length = bytes.len() as u64;
        self.bytes += length;
        let Some(origin) = origin else {
            self.new_bytes += length;
            self.settle()?;
            return self.sink.write_all(bytes);
        };
        if let Some(waiting) = self.waiting.as_mut().filter(|it| it.end == origin.offset) {
            waiting.end += length;
            return Ok(());
        }
        self.settle()?;
        let can_share = |block_bytes: u32| {
            let block_bytes = u64::from(block_bytes);
            origin.offset % block_bytes == at % block_bytes
        };
        if !self.block_bytes.is_some_and(can_share) {
            return self.sink.write_all(bytes);
        }
        self.waiting = Some(Waiting {
            archive: origin.archive.clone(),
            begin: origin.offset,
            end: origin.offset + length,
        });
        Ok(())
    }

    /// Writes what waits: shares whole blocks, and copies the rest.
    fn settle(&mut self) -> io::Result<()> {
        let (Some(waiting), Some(block_bytes)) = (self.waiting.take(), self.block_bytes) else {
            return Ok(());
        };
        let block_bytes = u64::from(block_bytes);
        let Waiting {
            archive,
            begin,
            end,
        } = waiting;
        let first = begin.next_multiple_of(block_bytes).min(end);
        self.copy(archive.file(), begin, first)?;
        let last = end - (end - first) % block_bytes;
        let mut at = first;
        while at < last {
            // What cannot be shared is copied.
            let length = usize::try_from(last - at).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(
                archive.file(),
                Some(&mut at),
                self.archive,
                None,
                length,
            ) {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
        self.copy(archive.file(), at, end)
    }

    fn copy(&mut self, from: &File, begin: u64, end: u64) -> io::Result<()> {
        let mut part = Within {
            file: from,
            at: begin,
            end,
        };
        let copied = io::copy(&mut part, self.sink)?;
        if copied < end - begin {
            return Err(io::Error::other(
                "the archive of the parent was cut meanwhile",
            ));
        }
        Ok(())
    }
}
