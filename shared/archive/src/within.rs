//! A part of a file as a reader that leaves the position of the file alone.
//!
//! Knows nothing of what is in it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// From one byte to before another.
pub(crate) struct Within<'a> {
    pub(crate) file: &'a File,
    pub(crate) at: u64,
    pub(crate) end: u64,
}

impl Read for Within<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
