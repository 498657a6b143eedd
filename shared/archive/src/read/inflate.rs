//! An archive's content, decompressed on all cores where its members tell their length, and the
//! hash of the file, taken on the way.
//!
//! Gzip members of other programs, and members too large to be held whole, are decompressed one after
//! the other as a stream. Bounded queues bound the memory, however the archive was made. `frames` cuts
//! an archive of zstd frames. Knows nothing of tar.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;

use crate::format::codec::{Codec, Decompressor, MEMBER_MAX_BYTES};
pub use crate::format::damage::{Damage, DamageKind, Salvage};
use crate::format::member::{HEADER_BYTES, content_bytes, is_as_written, stated_length};
use crate::hashed::{Hashed, Whole};
use crate::pool::{Results, pool};
pub use crate::read::cutter::Piece;
use crate::read::cutter::{Cutter, Member, stream};
use crate::read::frames::Frames;
use crate::threads::{begin_some, needed};

/// More would multiply the memory and not the speed.
const JOBS_MAX: usize = 6;

/// Reads the content of an archive.
pub struct Inflate {
    pieces: Results<Result<Piece, Damage>>,
    reading: Option<std::thread::JoinHandle<Option<Whole>>>,
    read_bytes: Arc<AtomicU64>,
    /// What was inflated and not read yet.
    pub(crate) piece: io::Cursor<Vec<u8>>,
}

impl Inflate {
    /// Begins to read a file from where it is.
    ///
    /// # Errors
    /// No more threads to be had.
    pub fn new(file: File, jobs: usize) -> io::Result<Self> {
        Self::begin(file, None, jobs, false)
    }

    /// As [`Inflate::new`], and tells also what gunzip(1) would overlook in the headers of an
    /// archive of bk's.
    ///
    /// # Errors
    /// No more threads to be had.
    pub fn strict(file: File, jobs: usize) -> io::Result<Self> {
        Self::begin(file, None, jobs, true)
    }

    /// Of `parts` each begins and ends with a member; they are read one after the other as if nothing
    /// were between them.
    pub(crate) fn begin(
        file: File,
        parts: Option<Vec<Range<u64>>>,
        jobs: usize,
        is_strict: bool,
    ) -> io::Result<Self> {
        let jobs = jobs.clamp(1, JOBS_MAX);
        let (members, worker, pieces) = pool(jobs + 2);
        let read_bytes = Arc::<AtomicU64>::default();
        let codec = Codec::of(&file);
        let table_of = parts.is_none().then_some(&file);
        let frames = Frames::new(codec, table_of);
        let reading = Reading {
            cutter: Cutter {
                codec,
                input: BufReader::with_capacity(1 << 17, Hashed::new(file, read_bytes.clone())),
                members,
                offset: 0,
                is_strict,
            },
            frames,
            parts: parts.map(Vec::into_iter),
            part_end: 0,
            has_own: false,
            foreign: None,
        };
        // The one that cannot be done without comes first.
        let reading = needed(Builder::new().spawn(move || reading.run()))?;
        begin_some(jobs, || {
            let mut decompressor = Decompressor::new(codec, is_strict)?;
            let worker = worker.clone();
            let inflate = move |member| inflate(codec, &mut decompressor, member);
            Builder::new().spawn(move || worker.run(inflate))
        })?;
        Ok(Self {
            pieces,
            reading: Some(reading),
            read_bytes,
            piece: io::Cursor::default(),
        })
    }

    /// The next part of the content; `None` at the end of the file.
    ///
    /// # Errors
    /// Damage. What comes after a corrupt member follows all the same, where the members tell
    /// their length.
    pub fn next_piece(&mut self) -> Option<Result<Piece, Damage>> {
        self.pieces.next()
    }

    /// How much of the file was read so far.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Length and hash of the file, once it was read to its end; `None` where it could not be.
    pub fn whole(mut self) -> Option<Whole> {
        while self.next_piece().is_some() {}
        self.reading.take()?.join().ok()?
    }
}

impl Read for Inflate {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.next_piece() {
                None => return Ok(0),
                Some(piece) => {
                    let piece = piece.map_err(|it| io::Error::new(io::ErrorKind::InvalidData, it));
                    self.piece = io::Cursor::new(piece?.content);
                }
            }
        }
    }
}

fn inflate(
    codec: Codec,
    decompressor: &mut Decompressor,
    (offset, member): Member,
) -> Result<Piece, Damage> {
    match decompressor.member(&member) {
        Ok(content) => Ok(Piece { offset, content }),
        Err(reason) => Err(Damage {
            salvage: Some(codec.salvage(&member, MEMBER_MAX_BYTES)),
            ..Damage::new(DamageKind::Corrupt, offset, reason)
        }),
    }
}

/// Cuts the file into members and hands them on.
struct Reading {
    cutter: Cutter,
    frames: Frames,
    /// What is still to be read, where that is not all.
    parts: Option<std::vec::IntoIter<Range<u64>>>,
    /// Of the part that is being read.
    part_end: u64,
    /// Whether a member of bk's was seen.
    has_own: bool,
    /// The first member that is none.
    foreign: Option<u64>,
}

impl Reading {
    /// To the end of the file, or until nobody listens.
    fn run(mut self) -> Option<Whole> {
        if let Err(damage) = self.members_of_parts() {
            self.cutter.tell(damage);
        }
        if self.parts.is_none() {
            // The hash is of the whole file, whatever is wrong with what it holds.
            io::copy(&mut self.cutter.input, &mut io::sink()).ok()?;
        }
        self.cutter.input.into_inner().whole()
    }

    fn members_of_parts(&mut self) -> Result<(), Damage> {
        while self.next_part()? && self.next_member()? {}
        Ok(())
    }

    /// Goes to the next part where one is over. Whether there is more to read.
    fn next_part(&mut self) -> Result<bool, Damage> {
        let Some(parts) = &mut self.parts else {
            return Ok(true);
        };
        if self.cutter.offset < self.part_end {
            return Ok(true);
        }
        if self.cutter.offset > self.part_end {
            return Err(self
                .cutter
                .damage(DamageKind::Corrupt, "it was written to meanwhile"));
        }
        let Some(part) = parts.next() else {
            return Ok(false);
        };
        (self.cutter.offset, self.part_end) = (part.start, part.end);
        let sought = self.cutter.input.seek(SeekFrom::Start(part.start));
        sought.map_err(|error| {
            self.cutter
                .damage(DamageKind::Unreadable, &error.to_string())
        })?;
        Ok(true)
    }

    /// Whether another may follow.
    fn next_member(&mut self) -> Result<bool, Damage> {
        match self.cutter.codec {
            Codec::Gzip => self.next_gzip_member(),
            Codec::Zstd => self.frames.next(&mut self.cutter),
        }
    }

    fn next_gzip_member(&mut self) -> Result<bool, Damage> {
        let mut member = Vec::new();
        self.cutter.read(HEADER_BYTES, &mut member)?;
        if member.is_empty() && self.cutter.offset > 0 {
            return Ok(false);
        }
        let begin = &member[..member.len().min(2)];
        if begin.is_empty() || !b"\x1f\x8b".starts_with(begin) {
            return Err(self.cutter.no_member());
        }
        if member.len() < HEADER_BYTES {
            // The shortest member of any program is as long as a header of bk's.
            return Err(self
                .cutter
                .damage(DamageKind::Truncated, "the file ends within a member"));
        }
        let told = stated_length(&member);
        let told =
            told.map_err(|error| self.cutter.damage(DamageKind::Corrupt, &error.to_string()))?;
        if self.cutter.is_strict && !self.check_header(&member, told.is_some()) {
            return Ok(false);
        }
        match told {
            Some(length) if length <= MEMBER_MAX_BYTES => self.hand_on(length, member),
            Some(length) => self.stream_own(length, member),
            None => {
                let input = io::Cursor::new(member).chain(&mut self.cutter.input);
                let bytes = stream(
                    self.cutter.codec,
                    self.cutter.members.place(),
                    self.cutter.offset,
                    input,
                )?;
                self.cutter.offset += bytes.unwrap_or_default();
                Ok(bytes.is_some())
            }
        }
    }

    /// Tells of a header that bk does not write beside those that it does. Whether anybody
    /// listens.
    fn check_header(&mut self, header: &[u8], is_own: bool) -> bool {
        const REASON: &str = "the header of a member is not as bk writes it";
        let odd = |offset| Damage::new(DamageKind::Odd, offset, REASON);
        self.has_own |= is_own;
        if !is_own && self.foreign.is_none() {
            self.foreign = Some(self.cutter.offset);
        }
        match self.foreign {
            // Told once, and then for each that comes.
            Some(offset) if self.has_own => {
                self.foreign = None;
                self.cutter.tell(odd(offset))
            }
            _ if is_own && !is_as_written(header) => self.cutter.tell(odd(self.cutter.offset)),
            _ => true,
        }
    }

    fn hand_on(&mut self, length: usize, mut member: Vec<u8>) -> Result<bool, Damage> {
        self.cutter.read(length - HEADER_BYTES, &mut member)?;
        if member.len() < length {
            return Err(self
                .cutter
                .damage(DamageKind::Truncated, "the file ends within a member"));
        }
        let offset = self.cutter.offset;
        self.cutter.offset += length as u64;
        if content_bytes(&member) > MEMBER_MAX_BYTES {
            // A file of a great many holes has such a map; or the length is damaged.
            return Ok(
                match stream(
                    self.cutter.codec,
                    self.cutter.members.place(),
                    offset,
                    &member[..],
                ) {
                    Ok(Some(bytes)) if bytes == length as u64 => true,
                    Ok(Some(_)) => self.cutter.tell(Damage::new(
                        DamageKind::Corrupt,
                        offset,
                        "a member has bytes after its end",
                    )),
                    Ok(None) => false,
                    Err(damage) => self.cutter.tell(Damage {
                        kind: DamageKind::Corrupt,
                        ..damage
                    }),
                },
            );
        }
        Ok(self.cutter.members.job((offset, member)))
    }

    /// A member that is too long to be held. The walk goes on where it ends, whatever it tells.
    fn stream_own(&mut self, told: usize, begin: Vec<u8>) -> Result<bool, Damage> {
        let offset = self.cutter.offset;
        let input = io::Cursor::new(begin).chain(&mut self.cutter.input);
        let Some(bytes) = stream(
            self.cutter.codec,
            self.cutter.members.place(),
            offset,
            input,
        )?
        else {
            return Ok(false);
        };
        self.cutter.offset += bytes;
        let is_wrong = self.cutter.is_strict && bytes != told as u64;
        let reason = "a member is of another length than it tells";
        Ok(!is_wrong
            || self
                .cutter
                .tell(Damage::new(DamageKind::Odd, offset, reason)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::format::member::Deflater;
    use crate::hashed::hex;
    use sha2::{Digest, Sha256};
    use std::io::Write;

    fn open(bytes: &[u8]) -> Inflate {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        Inflate::new(file, 3).unwrap()
    }

    fn members() -> (Vec<Vec<u8>>, Vec<u8>) {
        let contents: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 5000 * usize::from(n)]).collect();
        let mut deflater = Deflater::new(6).unwrap();
        let joined = contents.iter().map(|it| deflater.member(it).unwrap());
        (contents.clone(), joined.collect::<Vec<_>>().concat())
    }

    #[test]
    fn own_and_foreign_members_are_joined_in_their_order_and_hashed() {
        let (contents, own) = members();
        let foreign = |bytes: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let all = contents.concat();
        // As the map of a file of a great many holes.
        let large = vec![7; MEMBER_MAX_BYTES + 1];
        let large_member = Deflater::new(6).unwrap().member(&large).unwrap();
        for (bytes, content) in [
            (
                [&own[..], &large_member, &own].concat(),
                [&all[..], &large, &all].concat(),
            ),
            (own.clone(), all.clone()),
            (foreign(&all), all.clone()),
            (
                [own.clone(), foreign(b"more")].concat(),
                [&all[..], b"more"].concat(),
            ),
            (
                [foreign(b"first"), own.clone()].concat(),
                [b"first", &all[..]].concat(),
            ),
        ] {
            let mut inflate = open(&bytes);
            let mut read = Vec::new();
            inflate.read_to_end(&mut read).unwrap();
            assert_eq!(read, content);
            let whole = inflate.whole().unwrap();
            assert_eq!(whole.bytes, bytes.len() as u64);
            assert_eq!(whole.hash, hex(Sha256::new_with_prefix(&bytes)));
        }
    }

    #[test]
    fn damage_is_told_by_its_kind_and_member_and_the_rest_follows() {
        let (contents, own) = members();
        let damages = |bytes: &[u8]| {
            let mut inflate = open(bytes);
            let (mut pieces, mut damages) = (0, Vec::new());
            while let Some(piece) = inflate.next_piece() {
                match piece {
                    Ok(_) => pieces += 1,
                    Err(damage) => damages.push((damage.kind, damage.offset)),
                }
            }
            (pieces, damages)
        };
        let first = stated_length(&own).unwrap().unwrap() as u64;
        let mut flipped = own.clone();
        let at = first as usize + HEADER_BYTES + 3;
        flipped[at] ^= 0xff;
        assert_eq!(damages(&flipped), (39, vec![(DamageKind::Corrupt, first)]));
        let cut = &own[..own.len() - 1];
        let (pieces, damage) = damages(cut);
        assert_eq!(
            (pieces, damage[0].0),
            (contents.len() - 1, DamageKind::Truncated)
        );
        let trailing = [&own[..], b"junk"].concat();
        let (_, damage) = damages(&trailing);
        assert_eq!(damage, [(DamageKind::Trailing, own.len() as u64)]);
        assert_eq!(damages(b"junk"), (0, vec![(DamageKind::NotAnArchive, 0)]));
        assert_eq!(damages(b""), (0, vec![(DamageKind::NotAnArchive, 0)]));
    }

    #[test]
    fn a_reader_that_is_dropped_ends_its_threads() {
        let (_, own) = members();
        let mut inflate = open(&own.repeat(20));
        assert!(inflate.next_piece().is_some());
        let reading = inflate.reading.take().unwrap();
        drop(inflate);
        reading.join().unwrap();
    }
}
