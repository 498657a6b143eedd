//! Reads a tar stream block by block: headers, and the content between them.
//!
//! Tracks the position and the rest of the content; does not decode headers.

use std::io::{self, Read};

use anyhow::{Context, Result};

use crate::format::damage::{Damage, DamageKind};
use crate::format::header::{BLOCK_BYTES, Block};

/// Reads whole blocks, and content byte by byte.
pub(crate) struct Blocks<R> {
    pub(crate) input: R,
    /// The position in the stream.
    pub(crate) position: u64,
    /// The bytes of content not read yet.
    pub(crate) content_left: u64,
    /// The padding after the content.
    padding: u64,
    /// A peeked block.
    peeked: io::Cursor<Vec<u8>>,
    /// Whether reading content failed.
    pub(crate) is_cut: bool,
    /// Trailing bytes after the last member, once they were found; the stream ends before them.
    pub(super) trailing: Option<Damage>,
}

impl<R: Read> Blocks<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            position: 0,
            content_left: 0,
            padding: 0,
            peeked: io::Cursor::default(),
            is_cut: false,
            trailing: None,
        }
    }

    /// The end of the padded content in the stream.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.content_left + self.padding
    }

    /// Sets the size of the content that comes next.
    pub(crate) fn set_content(&mut self, size: u64) -> Result<()> {
        let padded = size.checked_next_multiple_of(BLOCK_BYTES as u64);
        let padded = padded.filter(|padded| i64::try_from(*padded).is_ok());
        self.padding = padded.context("a size is out of range")? - size;
        self.content_left = size;
        Ok(())
    }

    /// Drops the rest of the content and the peeked block.
    pub(crate) fn discard(&mut self) {
        (self.content_left, self.padding) = (0, 0);
        self.peeked = io::Cursor::default();
        self.trailing = None;
        self.is_cut = false;
    }

    /// Skips the rest of the content. The padding may be missing at the end of the stream.
    pub(crate) fn skip_content(&mut self) -> Result<()> {
        io::copy(&mut Content(self), &mut io::sink())?;
        // Less than a block.
        let mut rest = [0; BLOCK_BYTES];
        let padding = std::mem::take(&mut self.padding) as usize;
        self.fill(&mut rest[..padding])?;
        Ok(())
    }

    /// The next block; `None` at the end of the stream.
    pub(crate) fn header(&mut self) -> Result<Option<Block>> {
        let mut block = [0; BLOCK_BYTES];
        match self.fill(&mut block)? {
            0 => Ok(None),
            BLOCK_BYTES => Ok(Some(block)),
            _ => Err(cut_short().into()),
        }
    }

    /// The next block, which must exist.
    pub(crate) fn block(&mut self) -> Result<Block> {
        self.header()?.ok_or_else(|| cut_short().into())
    }

    /// The next block, without consuming it; `None` if there is no complete one.
    pub(crate) fn peek(&mut self) -> Result<Option<Block>> {
        let begin = self.position;
        let mut block = [0; BLOCK_BYTES];
        let count = self.fill(&mut block)?;
        self.position = begin;
        self.peeked = io::Cursor::new(block[..count].to_vec());
        Ok((count == BLOCK_BYTES).then_some(block))
    }

    /// How many zeros follow, to the end of the file; `None` where something else does.
    pub(crate) fn zeros_to_end(&mut self) -> Result<Option<u64>> {
        let mut rest = [0; 16 * BLOCK_BYTES];
        let mut zeros = 0;
        loop {
            // Read no further than the current piece, so that the offset of the rest is known.
            match self.read(&mut rest)? {
                0 => return Ok(Some(zeros)),
                count if rest[..count].iter().all(|byte| *byte == 0) => zeros += count as u64,
                _ => return Ok(None),
            }
        }
    }

    /// Reads to the end.
    pub(crate) fn drain(&mut self) -> Result<()> {
        let mut rest = [0; 16 * BLOCK_BYTES];
        while self.fill(&mut rest)? > 0 {}
        Ok(())
    }

    /// Reads until the bytes are full or the stream ends.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read(&mut bytes[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }

    /// Reads from the input; trailing bytes after the last member count as its end.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let peeked = self.peeked.read(bytes)?;
        if peeked > 0 {
            return Ok(peeked);
        }
        loop {
            match self.input.read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => match damage(&error) {
                    Some(damage) if damage.kind == DamageKind::Trailing => {
                        self.trailing = Some(damage.clone());
                        return Ok(0);
                    }
                    _ => return Err(error),
                },
                read => return read,
            }
        }
    }
}

fn damage(error: &io::Error) -> Option<&Damage> {
    error.get_ref()?.downcast_ref()
}

/// Reads the rest of the content.
pub(crate) struct Content<'a, R>(pub(crate) &'a mut Blocks<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let blocks = &mut *self.0;
        let wanted = usize::try_from(blocks.content_left).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = match blocks.read(&mut buffer[..wanted]) {
            Ok(0) => Err(cut_short()),
            read => read,
        };
        blocks.is_cut = count.is_err();
        let count = count?;
        blocks.content_left -= count as u64;
        blocks.position += count as u64;
        Ok(count)
    }
}

pub(crate) fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut short")
}
