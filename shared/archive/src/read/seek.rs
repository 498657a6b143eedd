//! Finds the entries of some names in an archive of bk's without inflating the rest.
//!
//! A member states its length and that of its content, it begins with an entry unless it continues a
//! large file, and entries are sorted. So the first name of each member shows which members can have
//! a name, and only first headers are inflated. An archive that deviates from that is read as a
//! whole. Knows no target.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Result, ensure};
use flate2::bufread::GzDecoder;

use crate::format::member::{HEADER_BYTES, TRAILER_BYTES, content_bytes, stated_length};
use crate::read::inflate::Inflate;
use crate::read::reader::Reader;
use crate::restore::names::{NameRange, normalize};

/// Enough for a compressed first header in most members.
const HEAD_BYTES: usize = 2 << 10;
/// The limit of parts; an archive that needs more is read as a whole.
const PARTS_MAX: usize = 1 << 20;

/// Reads an archive from its beginning. If `ranges` are given and its entries are sorted as in bk's
/// archives, only the parts that can have such names are read. No other reader of the file may be
/// active.
///
/// # Errors
/// Failed reads, and being interrupted.
pub fn read(
    archive: &File,
    ranges: Option<&[NameRange]>,
    jobs: usize,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Reader<Inflate>> {
    let parts = ranges.and_then(|ranges| parts(archive, ranges, is_stopped));
    ensure!(!is_stopped(), "interrupted");
    let mut file = archive.try_clone()?;
    Ok(Reader::new(match parts {
        Some(parts) => Inflate::begin(file, Some(parts), jobs, false)?,
        None => {
            file.rewind()?;
            Inflate::new(file, jobs)?
        }
    }))
}

/// Whether the archive is one of bk's. Does not change the file position.
#[must_use]
pub fn is_own(archive: &File) -> bool {
    let Ok(metadata) = archive.metadata() else {
        return false;
    };
    let bytes = Within {
        archive,
        at: 0,
        end: metadata.len(),
    };
    let mut reader = Reader::new(GzDecoder::new(BufReader::with_capacity(HEAD_BYTES, bytes)));
    // The global header precedes any entry; an error after it does not matter.
    let _ = reader.next_entry();
    reader.is_own()
}

/// The parts of the file that can have the names, and form a complete tar stream; `None` if the archive
/// is not as bk writes it.
fn parts(
    archive: &File,
    ranges: &[NameRange],
    is_stopped: &dyn Fn() -> bool,
) -> Option<Vec<Range<u64>>> {
    let file_bytes = archive.metadata().ok()?.len();
    let member = Member::at(archive, 0, file_bytes)?;
    let mut global = Reader::new(member.content(archive));
    global.is_comment_alone().ok().filter(|is_it| *is_it)?;
    let mut parts = Vec::new();
    add(&mut parts, 0..member.end)?;
    // The position in the stream, and that of the next member that begins with an entry.
    let (mut position, mut boundary) = (0u64, 0u64);
    let mut last: Option<(Name, u64)> = None;
    let mut offset = member.end;
    while !is_stopped() {
        let member = Member::at(archive, offset, file_bytes)?;
        if position == boundary {
            let mut reader = Reader::new(member.content(archive));
            let first = reader.next_entry().ok()?;
            if reader.has_global {
                return None;
            }
            let name = match &first {
                Some(entry) => Some(Name::new(&entry.path)?),
                None => None,
            };
            if let Some((from, begin)) = last {
                if name.as_ref().is_some_and(|name| *name <= from) {
                    return None;
                }
                if from.can_precede(ranges, name.as_ref()) {
                    add(&mut parts, begin..offset)?;
                }
            }
            let Some(name) = name else {
                // The end of the stream, and whatever follows it in the file.
                add(&mut parts, offset..file_bytes)?;
                return Some(parts);
            };
            last = Some((name, offset));
            boundary = position.checked_add(reader.blocks.end().max(member.content_bytes))?;
        }
        position += member.content_bytes;
        offset = member.end;
        if position > boundary {
            return None;
        }
    }
    None
}

/// Adds a part of the file, joined with the one before it where they are adjacent.
fn add(parts: &mut Vec<Range<u64>>, part: Range<u64>) -> Option<()> {
    match parts.last_mut() {
        Some(last) if last.end == part.start => last.end = part.end,
        _ => parts.push(part),
    }
    (parts.len() <= PARTS_MAX).then_some(())
}

/// A member by its header and trailer, unchecked.
struct Member {
    begin: u64,
    end: u64,
    content_bytes: u64,
}

impl Member {
    /// `None` if there is no complete member of bk's.
    fn at(archive: &File, begin: u64, file_bytes: u64) -> Option<Self> {
        let mut header = [0; HEADER_BYTES];
        archive.read_exact_at(&mut header, begin).ok()?;
        let end = begin.checked_add(stated_length(&header).ok()?? as u64)?;
        if end > file_bytes {
            return None;
        }
        let mut trailer = [0; TRAILER_BYTES];
        let at = end - TRAILER_BYTES as u64;
        archive.read_exact_at(&mut trailer, at).ok()?;
        Some(Self {
            begin,
            end,
            content_bytes: content_bytes(&trailer) as u64,
        })
    }

    /// Its content, inflated on demand, at most as long as it states.
    fn content<'a>(&self, archive: &'a File) -> impl Read + use<'a> {
        let bytes = Within {
            archive,
            at: self.begin,
            end: self.end,
        };
        GzDecoder::new(BufReader::with_capacity(HEAD_BYTES, bytes)).take(self.content_bytes)
    }
}

/// Reads a part of the file without changing the file position.
struct Within<'a> {
    archive: &'a File,
    at: u64,
    end: u64,
}

impl Read for Within<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let count = self.archive.read_at(&mut buffer[..wanted], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// A name with the order of entries: names below the source `.` first, then part by part.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    is_below_dot: bool,
    plain: Vec<u8>,
}

impl Name {
    fn new(stored: &[u8]) -> Option<Self> {
        Some(Self {
            is_below_dot: stored == b"." || stored.starts_with(b"./"),
            plain: normalize(stored).ok()?,
        })
    }

    /// Whether a name in the ranges can be between this entry and the next known one.
    fn can_precede(&self, ranges: &[NameRange], next: Option<&Self>) -> bool {
        ranges.iter().any(|range| {
            let is_between = [true, false].into_iter().any(|is_below_dot| {
                let first = Self {
                    is_below_dot,
                    plain: range.name.clone(),
                };
                *self <= first && next.is_none_or(|next| first < *next)
            });
            is_between || range.holds(&self.plain)
        })
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        let is_slash = |byte: &u8| *byte == b'/';
        let dots = other.is_below_dot.cmp(&self.is_below_dot);
        dots.then_with(|| self.plain.split(is_slash).cmp(other.plain.split(is_slash)))
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(stored: &str) -> Name {
        let plain = normalize(stored.as_bytes()).unwrap_or_default();
        Name {
            is_below_dot: stored.starts_with('.'),
            plain,
        }
    }

    #[test]
    fn names_are_ordered_as_entries_are() {
        let ordered = [
            ".", "./a", "./a/b", "./a-", "./z", "a", "a/b", "a/b/c", "a/b-", "a/b.c", "a/c", "a ",
            "a-", "a.", "aa", "b",
        ];
        for pair in ordered.windows(2) {
            assert!(name(pair[0]) < name(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn a_name_is_sought_where_it_can_stand() {
        let can = |from: &str, next: &str, wanted: &str| {
            let next = (!next.is_empty()).then(|| name(next));
            name(from).can_precede(&[NameRange::path(wanted.into())], next.as_ref())
        };
        assert!(can("a", "c", "b") && can("b", "c", "b") && can("b/x", "c", "b"));
        assert!(can("a", "", "b") && can("a/z", "b/c", "b/a") && can("a/b", "a/b-", "a/b/c"));
        assert!(!can("a", "b", "b") && !can("b-", "c", "b") && !can("c", "", "b"));
        assert!(!can("a/b", "a/b-", "a/b.") && !can("b.c", "b.d", "b"));
        assert!(can("./a", "./c", "b") && can("./z", "a", "zz") && can("./z", "c", "b"));
        assert!(!can("./a", "./b", "b") && !can("./c", "./d", "b"));
    }
}
