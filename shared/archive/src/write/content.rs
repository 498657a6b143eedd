//! The content of a regular file: its extents and its bytes.
//!
//! Some file systems generate content when it is read and report a wrong size: 0 in /proc, a page in
//! /sys. Knows no entry.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};

use crate::format::entry::Extent;
use crate::write::place::Lstat;

/// The limit of extents, as readers have one; of a file with more the smallest holes are filled.
pub(crate) const EXTENTS_MAX: usize = 250_000;
/// Files up to this size are read at once, by one read(2).
const AT_ONCE_MAX_BYTES: u64 = 64 << 10;
/// A larger file without blocks on the disk is sparse, not generated.
const UNSURE_MAX_BYTES: u64 = 64 << 10;
/// The most that is read of a generated file: it may be endless.
const MISREPORTED_MAX_BYTES: u64 = 8 << 20;

/// Where the content of a file is read from.
pub(crate) enum Content {
    File(File),
    /// The whole content of a generated file, read in advance.
    Read(Vec<u8>),
}

/// The content of a file that reports a wrong size, and why it is incomplete, if it is.
pub(crate) type Misreported = (Vec<u8>, Option<String>);

impl Content {
    pub(crate) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(buffer, at),
            Self::Read(bytes) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                (&bytes[at..]).read(buffer)
            }
        }
    }
}

/// The whole content of a small file without holes, which the walk found to be as `found`; `None` where
/// it is another one, or is not just so once it was read.
pub(crate) fn read_at_once(file: &File, found: &Lstat) -> Option<Vec<u8>> {
    let size = found.size();
    if size > AT_ONCE_MAX_BYTES || size > found.disk_bytes() {
        return None;
    }
    // One byte more tells an empty file from a generated one.
    let mut bytes = vec![0; (size as usize).max(1)];
    let read = file.read_at(&mut bytes, 0).ok()?;
    bytes.truncate(read);
    let is_whole = read as u64 == size && Lstat::of(file).ok()?.is_same(found);
    is_whole.then_some(bytes)
}

/// Reads a file that reports a size of 0, or a small one without blocks on the disk; `None` if its
/// size is right. That costs an empty file one read(2).
///
/// # Errors
/// Nothing of the file could be read.
pub(crate) fn misreported(file: &File, status: &Lstat) -> io::Result<Option<Misreported>> {
    let has_blocks = status.size() > 0 && status.disk_bytes() > 0;
    if has_blocks || status.size() > UNSURE_MAX_BYTES {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = file.take(MISREPORTED_MAX_BYTES + 1).read_to_end(&mut bytes);
    let lacks = match read {
        Err(error) if bytes.is_empty() => return Err(error),
        Err(error) => Some(format!("{error}: the archive has what was read before")),
        Ok(_) if bytes.len() as u64 > MISREPORTED_MAX_BYTES => {
            bytes.truncate(MISREPORTED_MAX_BYTES as usize);
            let told = status.size();
            Some(format!(
                "it reports a size of {told} but has more than {MISREPORTED_MAX_BYTES} bytes: the rest is not in the archive"
            ))
        }
        Ok(_) => None,
    };
    let is_as_told = lacks.is_none() && bytes.len() as u64 == status.size();
    Ok((!is_as_told).then_some((bytes, lacks)))
}

/// The extents of a file that uses less disk space than its size; `None` if it has no holes or the
/// file system does not report them.
pub(crate) fn extents(file: &File, status: &Lstat) -> Option<Vec<Extent>> {
    let size = status.size();
    if status.disk_bytes() >= size {
        return None;
    }
    let mut extents: Vec<Extent> = Vec::new();
    let mut at = 0;
    while at < size {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.min(size),
            Err(rustix::io::Errno::NXIO) => size,
            Err(_) => return None,
        };
        if data == size {
            break;
        }
        let hole = seek(file, SeekFrom::Hole(data)).ok()?.clamp(data, size);
        if hole == data {
            return None;
        }
        if extents.len() == 2 * EXTENTS_MAX {
            fill_smallest(&mut extents);
        }
        extents.push(Extent {
            offset: data,
            length: hole - data,
        });
        at = hole;
    }
    fill_smallest(&mut extents);
    let end = extents.last().map_or(0, |last| last.offset + last.length);
    let is_whole = extents.len() == 1 && extents.first().is_some_and(|first| first.length == size);
    if is_whole {
        return None;
    }
    if end < size {
        // As in GNU tar, an empty extent marks a hole at the end.
        extents.push(Extent {
            offset: size,
            length: 0,
        });
    }
    Some(extents)
}

/// Fills the smallest holes until the extents are within the limit.
fn fill_smallest(extents: &mut Vec<Extent>) {
    let Some(surplus) = extents.len().checked_sub(EXTENTS_MAX).filter(|it| *it > 0) else {
        return;
    };
    let hole = |pair: &[Extent]| pair[1].offset - pair[0].offset - pair[0].length;
    let mut holes: Vec<u64> = extents.windows(2).map(hole).collect();
    let (_, &mut largest, _) = holes.select_nth_unstable(surplus - 1);
    let smaller = holes[..surplus].iter().filter(|it| **it < largest).count();
    // Of the holes as large as the largest one to fill, only as many as needed.
    let mut as_large = surplus - smaller;
    extents.dedup_by(|next, last| {
        let hole = next.offset - last.offset - last.length;
        let is_filled = hole < largest || (hole == largest && as_large > 0);
        if is_filled {
            as_large -= usize::from(hole == largest);
            last.length = next.offset + next.length - last.offset;
        }
        is_filled
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_holes_are_filled_and_no_more_than_need_be() {
        let extent = |number: u64| Extent {
            // Every tenth hole is of 5 bytes, the others are of 10.
            offset: number * 20 - number.div_ceil(10) * 5,
            length: 10,
        };
        let max = EXTENTS_MAX as u64;
        for surplus in [0, 1, 7, max / 10, max / 5] {
            let mut extents: Vec<_> = (0..max + surplus).map(extent).collect();
            let (first, last) = (extents[0], extents[extents.len() - 1]);
            let data = |all: &[Extent]| all.iter().map(|it| it.length).sum::<u64>();
            let before = data(&extents);
            let small = (max + surplus - 1).div_ceil(10);
            fill_smallest(&mut extents);
            assert_eq!(extents.len(), EXTENTS_MAX);
            let filled = surplus.min(small) * 5 + surplus.saturating_sub(small) * 10;
            assert_eq!(data(&extents), before + filled, "{surplus}");
            let end = extents[EXTENTS_MAX - 1];
            assert_eq!(extents[0].offset, first.offset);
            assert_eq!(end.offset + end.length, last.offset + last.length);
        }
    }
}
