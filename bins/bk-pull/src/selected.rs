//! Which parts of an archive hold the wanted entries, by its manifest: the members that a small archive of these
//! alone consists of.
//!
//! Believes nothing of the manifest that the archive does not prove. Reads no archive.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, ensure};
use bk_archive::restore::names::{Selection, normalize};
use bk_schema::manifest::{Entry, EntryType, Hash, Member, Segment};
use bk_store::manifest::reader::Reader;

/// What lies no farther apart is read in one request.
const GAP_BYTES: u64 = 64 << 10;
/// What a request brings at most, but for what is larger itself.
const REQUEST_BYTES: u64 = 16 << 20;

/// The begin of an archive, with its birth, and its end, with a seek table, are no larger.
const EDGE_MAX_BYTES: u64 = 64 << 20;

/// A part that is needed whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// In the archive.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// What it is compared with; `None` for the begin and the end, of which a manifest knows nothing.
    pub(crate) hash: Option<Hash>,
}

impl Piece {
    fn end(self) -> u64 {
        self.offset + self.bytes
    }
}

/// What is needed of an archive.
#[derive(Debug, Default)]
pub(crate) struct Selected {
    /// In their order, with the begin and the end of the archive.
    pub(crate) pieces: Vec<Piece>,
    /// Files that are selected, of which no more than two are kept.
    pub(crate) files: Vec<Vec<u8>>,
    /// Which of the paths of the selection were met, by their numbers.
    pub(crate) met: HashSet<usize>,
}

impl Selected {
    /// What a selection needs of an archive of so many bytes. `open` gives its manifest from the begin on.
    ///
    /// # Errors
    /// A manifest that cannot be read or does not fit the archive.
    pub(crate) fn of(
        open: &dyn Fn() -> Result<Reader>,
        selection: &Selection,
        archive_bytes: u64,
    ) -> Result<Self> {
        let mut selected = Self::default();
        let mut firsts = HashSet::new();
        let mut wanted = BTreeMap::new();
        let mut bounds = None;
        let mut reader = open()?;
        while let Some(segment) = reader.next_segment()? {
            let end = segment.offset + segment.bytes();
            ensure!(
                !segment.members.is_empty() && end <= archive_bytes,
                "its manifest does not fit the archive"
            );
            let (begin, _) = bounds.unwrap_or((segment.offset, end));
            bounds = Some((begin, end));
            let mut is_wanted = false;
            for entry in &segment.entries {
                if selected.takes(entry, selection)? {
                    is_wanted = true;
                    if entry.entry_type == EntryType::HardLink {
                        firsts.insert(normalize(&entry.link_target)?);
                    }
                }
            }
            if is_wanted {
                wanted.insert(segment.offset, pieces(&segment));
            }
        }
        let (begin, end) = bounds.context("the backup holds nothing")?;
        ensure!(
            begin <= EDGE_MAX_BYTES && archive_bytes - end <= EDGE_MAX_BYTES,
            "its manifest does not fit the archive"
        );
        add_firsts(open, &firsts, &mut wanted)?;
        let members = wanted.into_values().flatten();
        let whole = |offset, end| Piece {
            offset,
            bytes: end - offset,
            hash: None,
        };
        let all = [whole(0, begin)].into_iter().chain(members);
        selected.pieces = all.chain([whole(end, archive_bytes)]).collect();
        Ok(selected)
    }

    fn takes(&mut self, entry: &Entry, selection: &Selection) -> Result<bool> {
        let name = normalize(&entry.path)?;
        let met = &mut self.met;
        let is_taken = selection.takes(&name, |number| met.extend([number]));
        let is_file = matches!(entry.entry_type, EntryType::File | EntryType::HardLink);
        if is_taken && is_file && self.files.len() < 2 {
            self.files.push(name);
        }
        Ok(is_taken)
    }

    /// The pieces that each request brings.
    pub(crate) fn requests(&self) -> impl Iterator<Item = &[Piece]> {
        let mut begin = 0;
        self.pieces.chunk_by(move |one, next| {
            let is_near = next.offset - one.end() <= GAP_BYTES;
            let is_small = next.end() - begin <= REQUEST_BYTES;
            if !(is_near && is_small) {
                begin = next.offset;
            }
            is_near && is_small
        })
    }
}

/// Adds the pieces of segments that hold the first names of hard links.
fn add_firsts(
    open: &dyn Fn() -> Result<Reader>,
    firsts: &HashSet<Vec<u8>>,
    wanted: &mut BTreeMap<u64, Vec<Piece>>,
) -> Result<()> {
    if firsts.is_empty() {
        return Ok(());
    }
    let mut reader = open()?;
    while let Some(segment) = reader.next_segment()? {
        let is_first = |it: &Entry| normalize(&it.path).is_ok_and(|name| firsts.contains(&name));
        if !wanted.contains_key(&segment.offset) && segment.entries.iter().any(is_first) {
            wanted.insert(segment.offset, pieces(&segment));
        }
    }
    Ok(())
}

/// The members of a segment, without their padding.
fn pieces(segment: &Segment) -> Vec<Piece> {
    let mut offset = segment.offset;
    let piece = |member: &Member| {
        let piece = Piece {
            offset,
            bytes: member.bytes.into(),
            hash: Some(member.hash),
        };
        offset += member.padded_bytes();
        piece
    };
    segment.members.iter().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_comes_together_and_not_too_much_at_once() {
        let piece = |offset: u64, bytes: u64| Piece {
            offset,
            bytes,
            hash: None,
        };
        let requests = |pieces: &[Piece]| -> Vec<usize> {
            let selected = Selected {
                pieces: pieces.to_vec(),
                ..Selected::default()
            };
            selected.requests().map(<[Piece]>::len).collect()
        };
        let far = GAP_BYTES + 1;
        assert_eq!(requests(&[piece(0, 10), piece(10 + GAP_BYTES, 5)]), [2]);
        assert_eq!(requests(&[piece(0, 10), piece(10 + far, 5)]), [1, 1]);
        let half = REQUEST_BYTES / 2;
        let all = [0, half, 2 * half, 3 * half, 4 * half].map(|at| piece(at, half));
        assert_eq!(requests(&all), [2, 2, 1]);
        assert_eq!(requests(&[piece(0, 3 * half), piece(3 * half, 1)]), [1, 1]);
    }
}
