//! What a gzip file holds: the contents of all its members (RFC 1952), joined.
//!
//! Reads members of any program to the end of the file, and refuses bytes that are none. Knows
//! nothing of what the members hold.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// The joined contents of a gzip file's members, as a stream.
pub(crate) struct Gunzip<R> {
    /// `None` after the last one.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Gunzip<R> {
    /// Reads the header of the first member.
    ///
    /// # Errors
    /// What is no gzip file, and those of the input.
    pub(crate) fn new(mut input: R) -> io::Result<Self> {
        if !begins_member(&mut input)? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is no gzip file",
            ));
        }
        Ok(Self {
            member: Some(GzDecoder::new(input)),
        })
    }

    fn next_member(mut input: R) -> io::Result<Option<GzDecoder<R>>> {
        if input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        if !begins_member(&mut input)? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "bytes that are no gzip member follow the last one",
            ));
        }
        Ok(Some(GzDecoder::new(input)))
    }
}

/// By its first byte alone, as the buffer may end behind it; the decoder checks the others.
fn begins_member(input: &mut impl BufRead) -> io::Result<bool> {
    Ok(input.fill_buf()?.first() == Some(&0x1f))
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it is cut short"),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("it is damaged: {error}"),
                ),
                _ => error,
            })?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            if let Some(ended) = self.member.take() {
                self.member = Self::next_member(ended.into_inner())?;
            }
        }
        Ok(0)
    }
}
