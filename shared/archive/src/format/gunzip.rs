//! Inflates one gzip member of any program (RFC 1952) as a stream.
//!
//! Knows the length of the member, and nothing about its content.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Reads the content of a member.
pub(crate) struct Gunzip<R>(GzDecoder<Counted<R>>);

impl<R: BufRead> Gunzip<R> {
    /// `input` is at the first byte of the member. Nothing beyond its end is consumed.
    pub(crate) fn new(input: R) -> Self {
        Self(GzDecoder::new(Counted { input, bytes: 0 }))
    }

    /// The length of the member, after it was read to its end.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.0.get_ref().bytes
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Counts the bytes that are consumed.
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
