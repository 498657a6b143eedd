//! One gzip member of any program (RFC 1952), inflated as a stream.
//!
//! Knows how much of its input belongs to the member, and nothing of what it holds.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{SyncSender, sync_channel};

use flate2::bufread::GzDecoder;

use crate::damage::Damage;
use crate::inflate::{Awaited, Piece};

/// In which a stream is handed on.
const CHUNK_BYTES: usize = 1 << 20;

/// What a member holds.
pub(crate) struct Gunzip<R>(GzDecoder<Counted<R>>);

impl<R: BufRead> Gunzip<R> {
    /// From the first byte of its header on. Reads nothing beyond its end.
    pub(crate) fn new(input: R) -> Self {
        Self(GzDecoder::new(Counted { input, bytes: 0 }))
    }

    /// How long the member is, once it was read to its end.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.0.get_ref().bytes
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Counts what is taken.
struct Counted<R> {
    input: R,
    bytes: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.bytes += count as u64;
        self.input.consume(count);
    }
}

/// How the inflating of a member as a stream ended.
pub(crate) enum Streamed {
    /// The member is so long.
    Whole(u64),
    Damaged(Damage),
    /// Nobody listens any more.
    Gone,
}

/// Hands on what the member at the start of `input` holds, in chunks.
pub(crate) fn stream(order: &SyncSender<Awaited>, offset: u64, input: impl BufRead) -> Streamed {
    let (result, awaited) = sync_channel(1);
    if order.send(awaited).is_err() {
        return Streamed::Gone;
    }
    let mut gunzip = Gunzip::new(input);
    loop {
        let mut content = Vec::new();
        let mut chunk = gunzip.by_ref().take(CHUNK_BYTES as u64);
        let read = chunk.read_to_end(&mut content);
        let is_over = content.is_empty();
        if !is_over && result.send(Ok(Piece { offset, content })).is_err() {
            return Streamed::Gone;
        }
        if let Err(error) = read {
            return Streamed::Damaged(Damage::of(&error, offset));
        }
        if is_over {
            return Streamed::Whole(gunzip.taken_bytes());
        }
    }
}
