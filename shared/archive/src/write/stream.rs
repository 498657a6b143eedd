//! A file that comes through a pipe, whose size is only known at its end.
//!
//! The header precedes the content but has its size. So it gets a member of its own with a fixed
//! length; where the content has several pieces, it is rewritten in place once all is read. Nothing is
//! buffered elsewhere. The content is cut where itself says so: what is put into it moves what comes
//! after, and the parent has that all the same. Knows no process.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};

use crate::accounts::Names;
use crate::format::codec::Codec;
use crate::format::entry::{Entry, FileTime, Kind};
use crate::format::header::{BLOCK_BYTES, push_fixed_length};
use crate::write::members::{Job, Members, Out, Part, Written};
use crate::write::observer::{Observer, check_stop};
use crate::write::parent::Pieces;
use crate::write::problem::{Problem, ProblemKind};

/// A piece is no shorter, unless it is the last one.
const PIECE_MIN_BYTES: usize = 512 << 10;
const PIECE_MAX_BYTES: usize = 3 << 20;
/// A piece ends where so many bits are zeros, which is so every 512 KiB on average.
const CUT_MASK: u64 = !0 << (64 - 19);

/// Takes the content, as it comes.
pub type Taker<'t> = dyn FnMut(&mut dyn Read) -> Result<()> + 't;

/// Gives content to the taker; what it fails with is why there is no archive.
pub type Feed<'a> = Box<dyn Fn(&mut Taker<'_>) -> Result<()> + Sync + 'a>;

/// What to archive.
pub struct Stream<'a> {
    /// Normalized name in the archive.
    pub name: PathBuf,
    /// Modification time.
    pub mtime: FileTime,
    /// User and group.
    pub owner: (u32, u32),
    /// The content.
    pub feed: Feed<'a>,
}

/// Adds the stream; returns its length. `pieces` are what the parent has of an earlier one of that name.
pub(crate) fn add(
    stream: &Stream<'_>,
    pieces: Option<Arc<Pieces>>,
    members: &mut Members,
    observer: &dyn Observer,
) -> Result<u64> {
    let mut bytes = None;
    (stream.feed)(&mut |input| {
        bytes = Some(store(stream, &pieces, input, members, observer)?);
        Ok(())
    })?;
    bytes.context("nothing was read")
}

fn store(
    stream: &Stream<'_>,
    pieces: &Option<Arc<Pieces>>,
    input: &mut dyn Read,
    members: &mut Members,
    observer: &dyn Observer,
) -> Result<u64> {
    let codec = members.codec();
    let out = members.apart()?;
    let mut entry = entry(stream);
    let mut content = Cut {
        input,
        ahead: Vec::new(),
    };
    let mut next = || {
        let next = content.next();
        check_stop(observer)?;
        next.map_err(|error| {
            let name = stream.name.display();
            anyhow!("cannot read what is to be backed up as '{name}': {error}")
        })
    };
    let (mut piece, mut is_last) = next()?;
    let is_known = is_last;
    if is_known {
        entry.size = piece.len() as u64;
    }
    let begin = header(codec, &entry)?;
    if piece.is_empty() {
        let nothing = "the input was empty: it is an empty file in the archive";
        observer.problem(Problem::new(&stream.name, ProblemKind::Empty, nothing));
        observer.read_file();
        let entries = vec![entry.to_manifest(None, None)];
        out.member(Written::new(begin, None, Part::Last(entries, true)))?;
        return Ok(0);
    }
    out.member(Written::new(begin, None, Part::Piece))?;
    entry.size = 0;
    loop {
        let bytes = piece.len() as u64;
        entry.size += bytes;
        let job = Job {
            content: piece,
            part: Part::Piece,
            is_large: true,
            pieces: pieces.clone(),
        };
        observer.read_bytes(bytes);
        if is_last {
            observer.read_file();
            let row = entry.to_manifest(None, None);
            let last = match is_known {
                true => Part::Last(vec![row], true),
                false => Part::LastOfStream(Box::new(row), header(codec, &entry)?),
            };
            end(out, job, entry.size, last)?;
            return Ok(entry.size);
        }
        out.job(job)?;
        (piece, is_last) = next()?;
    }
}

/// Adds the last piece, and fills the last block: pieces end anywhere, and it is the whole that has to
/// be of blocks. What fills it stands apart where there are several pieces, as the parent may have the
/// same last piece of a stream of another length.
fn end(out: &Out, mut piece: Job, bytes: u64, last: Part) -> Result<()> {
    let missing = bytes.next_multiple_of(BLOCK_BYTES as u64) - bytes;
    let mut padding = vec![0; missing as usize];
    if matches!(last, Part::Last(..)) || padding.is_empty() {
        piece.content.append(&mut padding);
        piece.part = last;
        return out.job(piece);
    }
    out.job(piece)?;
    out.job(Job {
        content: padding,
        part: last,
        is_large: false,
        pieces: None,
    })
}

fn entry(stream: &Stream<'_>) -> Entry {
    let (uid, gid) = stream.owner;
    let (uname, gname) = Names::of_this_machine().of(stream.owner);
    Entry {
        path: OsStr::as_bytes(stream.name.as_os_str()).to_owned(),
        kind: Kind::File { extents: None },
        size: 0,
        mode: 0o600,
        uid,
        gid,
        uname,
        gname,
        mtime: stream.mtime,
        xattrs: Vec::new(),
        acl_texts: Vec::new(),
    }
}

/// Stored without compression, so that its length does not depend on its content.
fn header(codec: Codec, entry: &Entry) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    push_fixed_length(&mut content, entry);
    codec.stored(&content)
}

/// Cuts what is read into pieces.
struct Cut<'a> {
    input: &'a mut dyn Read,
    /// What was read already.
    ahead: Vec<u8>,
}

impl Cut<'_> {
    /// The next piece, and whether it is the last one. Only the first one can be empty.
    fn next(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let mut piece = std::mem::take(&mut self.ahead);
        // One byte more tells that there is another piece.
        let missing = (PIECE_MAX_BYTES + 1).saturating_sub(piece.len());
        piece.reserve_exact(missing);
        let mut input = (&mut self.input).take(missing as u64);
        let read = input.read_to_end(&mut piece)?;
        let at = cut(&piece);
        self.ahead = piece.split_off(at);
        Ok((piece, read < missing && self.ahead.is_empty()))
    }
}

/// Where the piece ends that these bytes begin with. Only what is directly before the end decides on
/// that.
fn cut(bytes: &[u8]) -> usize {
    let window = PIECE_MIN_BYTES - u64::BITS as usize;
    let mut hash = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(PIECE_MAX_BYTES).skip(window) {
        hash = (hash << 1).wrapping_add(RANDOM[usize::from(*byte)]);
        if hash & CUT_MASK == 0 && at >= PIECE_MIN_BYTES {
            return at;
        }
    }
    bytes.len().min(PIECE_MAX_BYTES)
}

/// A number for each byte, by splitmix64.
const RANDOM: [u64; 256] = {
    let mut all = [0; 256];
    let mut at = 0;
    let mut state = 0_u64;
    while at < all.len() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        all[at] = mixed ^ (mixed >> 31);
        at += 1;
    }
    all
};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pieces(mut content: &[u8]) -> Vec<Vec<u8>> {
        let mut cut = Cut {
            input: &mut content,
            ahead: Vec::new(),
        };
        let mut all = Vec::new();
        loop {
            let (piece, is_last) = cut.next().unwrap();
            all.push(piece);
            if is_last {
                return all;
            }
        }
    }

    #[test]
    fn what_is_put_in_changes_the_pieces_around_it_alone() {
        let mut state = 7_u64;
        let mut byte = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        let mut content: Vec<u8> = (0..24 << 20).map(|_| byte()).collect();
        let before = pieces(&content);
        assert_eq!(before.concat(), content);
        let is_between = |it: &Vec<u8>| (PIECE_MIN_BYTES..=PIECE_MAX_BYTES).contains(&it.len());
        assert!(before[..before.len() - 1].iter().all(is_between));
        assert!((12..48).contains(&before.len()), "{}", before.len());
        content.splice(9_000_000..9_000_000, *b"a few bytes");
        let after = pieces(&content);
        assert_eq!(after.concat(), content);
        let new = after.iter().filter(|it| !before.contains(it)).count();
        assert!((1..=3).contains(&new), "{new}");
    }

    #[test]
    fn content_without_a_cut_ends_where_it_must() {
        for bytes in [
            0,
            1,
            PIECE_MAX_BYTES,
            PIECE_MAX_BYTES + 1,
            2 * PIECE_MAX_BYTES,
        ] {
            let pieces = pieces(&vec![0; bytes]);
            assert_eq!(pieces.len(), bytes.div_ceil(PIECE_MAX_BYTES).max(1));
            assert_eq!(pieces.concat().len(), bytes);
        }
    }
}
