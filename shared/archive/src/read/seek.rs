//! Finds the entries of some names in an archive of bk's without decompressing the rest.
//!
//! The length of a member and that of its content are known, it begins with an entry unless it continues a
//! large file, and entries are sorted. So the first name of each member shows which members can have
//! a name, and only first headers are decompressed. An archive that deviates from that is read as a
//! whole. Knows no target.

use std::cmp::Ordering;
use std::fs::File;
use std::io::Seek;
use std::ops::Range;

use crate::read::inflate::Inflate;
use crate::read::reader::Reader;
use crate::read::spans::Spans;
use crate::restore::names::{NameRange, normalize};
use anyhow::{Result, ensure};

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
    let first = Spans::of(archive).and_then(|spans| spans.first_content());
    let Ok(first) = first else {
        return false;
    };
    let mut reader = Reader::new(first);
    // The global header precedes any entry; an error after it does not matter.
    let _ = reader.next_entry();
    reader.is_own()
}

/// Whether a part of an archive of bk's is its begin and no more: the birth facts.
///
/// # Errors
/// Failed reads, and what is no archive.
pub fn is_birth_alone(begin: File) -> Result<bool> {
    Reader::new(Inflate::new(begin, 1)?).is_comment_alone()
}

/// The parts of the file that can have the names, and form a complete tar stream; `None` if the archive
/// is not as bk writes it.
fn parts(
    archive: &File,
    ranges: &[NameRange],
    is_stopped: &dyn Fn() -> bool,
) -> Option<Vec<Range<u64>>> {
    let mut members = Spans::of(archive).ok()?;
    let member = members.next()?;
    let mut global = Reader::new(members.content(&member).ok()?);
    global.is_comment_alone().ok().filter(|is_it| *is_it)?;
    let mut parts = Vec::new();
    add(&mut parts, 0..member.end)?;
    // The position in the stream, and that of the next member that begins with an entry.
    let (mut position, mut boundary) = (0u64, 0u64);
    let mut last: Option<(Name, u64)> = None;
    while !is_stopped() {
        let member = members.next()?;
        let offset = member.begin;
        if position == boundary {
            let mut reader = Reader::new(members.content(&member).ok()?);
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
                add(&mut parts, offset..members.file_bytes())?;
                return Some(parts);
            };
            last = Some((name, offset));
            boundary = position.checked_add(reader.blocks.end().max(member.content_bytes))?;
        }
        position += member.content_bytes;
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
