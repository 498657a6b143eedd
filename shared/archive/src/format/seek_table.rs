//! The seek table of the zstd seekable format: a frame without content at the end of a file, which lists
//! the length of each frame before it, and of what that holds.
//!
//! A table that does not fit the file counts as none. Knows nothing of what the frames hold.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};

const SKIPPABLE_MAGIC: u32 = 0x184d_2a5e;
const SEEKABLE_MAGIC: u32 = 0x8f92_eab1;
/// Magic number and length of a skippable frame.
const HEADER_BYTES: u64 = 8;
/// Number of frames, descriptor, magic number.
const FOOTER_BYTES: u64 = 9;
const ENTRY_BYTES: u64 = 8;
/// The descriptor says that each entry has a checksum.
const HAS_CHECKSUMS: u8 = 0x80;
const CHECKSUM_BYTES: u64 = 4;
/// The limit of the format.
const FRAMES_MAX: u32 = 0x800_0000;
/// So many entries are read at once.
const READ_ENTRIES: u64 = 4096;

/// Makes a table.
#[derive(Default)]
pub(crate) struct Builder {
    entries: Vec<u8>,
    is_wrong: bool,
}

impl Builder {
    /// One more frame follows.
    pub(crate) fn add(&mut self, frame_bytes: usize, content_bytes: Option<usize>) {
        let content_bytes = content_bytes.and_then(|it| u32::try_from(it).ok());
        match u32::try_from(frame_bytes).ok().zip(content_bytes) {
            Some((frame, content)) => {
                self.entries.extend_from_slice(&frame.to_le_bytes());
                self.entries.extend_from_slice(&content.to_le_bytes());
            }
            None => self.is_wrong = true,
        }
    }

    /// # Errors
    /// What a table cannot list.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        let count = u32::try_from(self.entries.len() as u64 / ENTRY_BYTES).ok();
        let count = count.filter(|count| *count <= FRAMES_MAX && !self.is_wrong);
        let count = count.context("the archive has more members than a seek table can list")?;
        let length = u32::try_from(self.entries.len() as u64 + FOOTER_BYTES)?;
        ensure!(length as u64 >= FOOTER_BYTES, "a seek table is too short");
        Ok([
            &SKIPPABLE_MAGIC.to_le_bytes()[..],
            &length.to_le_bytes(),
            &self.entries,
            &count.to_le_bytes(),
            &[0],
            &SEEKABLE_MAGIC.to_le_bytes(),
        ]
        .concat())
    }
}

/// A frame as the table lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) bytes: u32,
    pub(crate) content_bytes: u32,
}

/// Reads the table of a file, entry by entry.
pub(crate) struct SeekTable {
    file: File,
    entry_bytes: u64,
    at: u64,
    end: u64,
    /// Where the table itself begins.
    begin: u64,
    read: std::vec::IntoIter<Listed>,
}

impl SeekTable {
    /// The table at the end of the file, if there is one whose entries add up to all that is before it.
    pub(crate) fn of(archive: &File) -> Option<Self> {
        let file_bytes = archive.metadata().ok()?.len();
        let end = file_bytes.checked_sub(FOOTER_BYTES)?;
        let mut footer = [0; FOOTER_BYTES as usize];
        archive.read_exact_at(&mut footer, end).ok()?;
        let [c0, c1, c2, c3, descriptor, magic @ ..] = footer;
        let count = u32::from_le_bytes([c0, c1, c2, c3]);
        let entry_bytes = match descriptor {
            0 => ENTRY_BYTES,
            HAS_CHECKSUMS => ENTRY_BYTES + CHECKSUM_BYTES,
            _ => return None,
        };
        if u32::from_le_bytes(magic) != SEEKABLE_MAGIC || count > FRAMES_MAX {
            return None;
        }
        let at = end.checked_sub(u64::from(count) * entry_bytes)?;
        let begin = at.checked_sub(HEADER_BYTES)?;
        let mut header = [0; HEADER_BYTES as usize];
        archive.read_exact_at(&mut header, begin).ok()?;
        let length = u32::try_from(file_bytes - at).ok()?;
        if header[..4] != SKIPPABLE_MAGIC.to_le_bytes() || header[4..] != length.to_le_bytes() {
            return None;
        }
        let table = || {
            Some(Self {
                file: archive.try_clone().ok()?,
                entry_bytes,
                at,
                end,
                begin,
                read: Vec::new().into_iter(),
            })
        };
        let listed: u64 = table()?.map(|it| u64::from(it.bytes)).sum();
        (listed == begin).then(table)?
    }

    /// Where the table itself begins.
    pub(crate) fn begin(&self) -> u64 {
        self.begin
    }
}

impl Iterator for SeekTable {
    type Item = Listed;

    fn next(&mut self) -> Option<Listed> {
        if let Some(listed) = self.read.next() {
            return Some(listed);
        }
        let bytes = (self.end - self.at).min(READ_ENTRIES * self.entry_bytes);
        let mut read = vec![0; usize::try_from(bytes).ok()?];
        self.file.read_exact_at(&mut read, self.at).ok()?;
        self.at += bytes;
        let number = |entry: &[u8], at: usize| {
            let bytes = entry.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let listed = |entry: &[u8]| {
            Some(Listed {
                bytes: number(entry, 0)?,
                content_bytes: number(entry, 4)?,
            })
        };
        let entries = read.chunks_exact(self.entry_bytes as usize);
        self.read = entries.filter_map(listed).collect::<Vec<_>>().into_iter();
        self.read.next()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    #[test]
    fn a_table_is_read_as_it_was_written_and_no_flipped_bit_goes_unseen() {
        let count = READ_ENTRIES as u32 * 2 + 5;
        let mut builder = Builder::default();
        for number in 0..count {
            builder.add(3, Some(number as usize));
        }
        let frames = vec![0; 3 * count as usize];
        let table = builder.finish().unwrap();
        let all: Vec<_> = SeekTable::of(&file(&[&frames[..], &table].concat()))
            .unwrap()
            .collect();
        let expected = (0..count).map(|content_bytes| Listed {
            bytes: 3,
            content_bytes,
        });
        assert_eq!(all, expected.collect::<Vec<_>>());
        assert!(SeekTable::of(&file(&[&frames[1..], &table].concat())).is_none());
        assert!(SeekTable::of(&file(&table)).is_none());

        let mut builder = Builder::default();
        builder.add(3, Some(9));
        let table = builder.finish().unwrap();
        for at in 0..table.len() {
            for bit in 0..8 {
                let mut bytes = [b"abc", &table[..]].concat();
                bytes[3 + at] ^= 1 << bit;
                let read = SeekTable::of(&file(&bytes)).map(Iterator::collect::<Vec<_>>);
                // The length of the content is compared with that of the frame.
                let is_content = (12..16).contains(&at);
                assert_eq!(read.is_some(), is_content, "byte {at}, bit {bit}");
            }
        }
    }
}
