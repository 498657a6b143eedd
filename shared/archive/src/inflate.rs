//! An archive's content, inflated on all cores where its members tell their length, and the
//! hash of the file, taken on the way.
//!
//! Members of other programs, and those too large to be held whole, are inflated one after the
//! other as a stream. Bounded queues bound the memory, however the archive was made. Knows
//! nothing of tar.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use libdeflater::{DecompressionError, Decompressor};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::gunzip::Gunzip;
use crate::member::{HEADER_BYTES, TRAILER_BYTES, told_length};
use crate::writer::hex;

/// A member that holds more, or is longer itself, is inflated as a stream. The writer's own are
/// smaller.
const MEMBER_MAX_BYTES: usize = 8 << 20;
/// In which a stream is handed on.
const CHUNK_BYTES: usize = 1 << 20;
/// More would multiply the memory and not the speed.
const JOBS_MAX: usize = 8;

/// Where and how an archive is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What kind of damage.
    pub kind: DamageKind,
    /// Of the member in the file, in bytes.
    pub offset: u64,
    /// For people.
    pub reason: String,
}

/// What kind of damage an archive has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// The file ends within a member.
    Truncated,
    /// A member cannot be inflated, or its checksum or length is wrong.
    Corrupt,
    /// Bytes that are no member follow the last one.
    Trailing,
    /// The file is no gzip file.
    NotGzip,
    /// The file cannot be read.
    Unreadable,
}

impl std::error::Error for Damage {}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (at byte {} of the file)", self.reason, self.offset)
    }
}

/// A part of the content, in the order of the file.
#[derive(Debug)]
pub struct Piece {
    /// Of the member that it is from, in the file.
    pub offset: u64,
    /// The content.
    pub content: Vec<u8>,
}

/// The file that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// How long it is.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hex.
    pub hash: String,
}

type Awaited = Receiver<Result<Piece, Damage>>;

/// Reads the content of an archive.
pub struct Inflate {
    order: Receiver<Awaited>,
    /// The stream piece by piece, as its chunks come.
    current: Option<Awaited>,
    reading: Option<std::thread::JoinHandle<Option<Whole>>>,
    piece: Vec<u8>,
    at: usize,
}

/// A member, and where its content is awaited.
struct Job {
    offset: u64,
    member: Vec<u8>,
    result: SyncSender<Result<Piece, Damage>>,
}

impl Inflate {
    /// Opens an archive and begins to read it.
    ///
    /// # Errors
    /// Those of opening it, and what is no regular file.
    pub fn open(archive: &Path, jobs: usize) -> Result<Self> {
        // A FIFO in the place of an archive would block.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(archive)?;
        ensure!(file.metadata()?.is_file(), "it is no regular file");
        Ok(Self::new(file, jobs))
    }

    /// Begins to read a file from where it is.
    #[must_use]
    pub fn new(file: File, jobs: usize) -> Self {
        let jobs = jobs.clamp(1, JOBS_MAX);
        let (job_in, job_out) = sync_channel::<Job>(1);
        let (order_in, order) = sync_channel(jobs * 2);
        let job_out = Arc::new(Mutex::new(job_out));
        for _ in 0..jobs {
            let job_out = job_out.clone();
            std::thread::spawn(move || inflate(&job_out));
        }
        let reading = std::thread::spawn(move || {
            Reading {
                input: BufReader::with_capacity(1 << 17, Hashed::new(file)),
                jobs: job_in,
                order: order_in,
                offset: 0,
            }
            .run()
        });
        Self {
            order,
            current: None,
            reading: Some(reading),
            piece: Vec::new(),
            at: 0,
        }
    }

    /// The next part of the content; `None` at the end of the file.
    ///
    /// # Errors
    /// Damage. What comes after a corrupt member follows all the same, where the members tell
    /// their length.
    pub fn next_piece(&mut self) -> Option<Result<Piece, Damage>> {
        loop {
            if let Some(awaited) = &self.current {
                if let Ok(piece) = awaited.recv() {
                    return Some(piece);
                }
                self.current = None;
            }
            self.current = Some(self.order.recv().ok()?);
        }
    }

    /// Length and hash of the file, once it was read to its end; `None` where it could not be.
    pub fn whole(mut self) -> Option<Whole> {
        while self.next_piece().is_some() {}
        self.reading.take()?.join().ok()?
    }
}

impl Read for Inflate {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.next_piece() {
                None => return Ok(0),
                Some(Err(damage)) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, damage));
                }
                Some(Ok(piece)) => (self.piece, self.at) = (piece.content, 0),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn inflate(jobs: &Mutex<Receiver<Job>>) {
    let mut decompressor = Decompressor::new();
    loop {
        let job = jobs.lock().map(|jobs| jobs.recv());
        let Ok(Ok(job)) = job else {
            return;
        };
        let content = inflate_member(&mut decompressor, &job.member);
        let piece = content.map(|content| Piece {
            offset: job.offset,
            content,
        });
        let damaged = |reason: &str| Damage {
            kind: DamageKind::Corrupt,
            offset: job.offset,
            reason: reason.to_owned(),
        };
        // Nobody waits for it once the reader was dropped.
        let _ = job.result.send(piece.map_err(damaged));
    }
}

fn inflate_member(decompressor: &mut Decompressor, member: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut content = vec![0; content_bytes(member)];
    let deflated = &member[HEADER_BYTES..member.len() - TRAILER_BYTES];
    match decompressor.deflate_decompress(deflated, &mut content) {
        Ok(count) if count == content.len() => {}
        Ok(_) | Err(DecompressionError::InsufficientSpace) => {
            return Err("a member holds another number of bytes than it tells");
        }
        Err(DecompressionError::BadData) => return Err("a member cannot be inflated"),
    }
    let trailer = &member[member.len() - TRAILER_BYTES..];
    if trailer[..4] != libdeflater::crc32(&content).to_le_bytes() {
        return Err("the checksum of a member is wrong");
    }
    Ok(content)
}

/// What a member tells that it holds: its last four bytes.
fn content_bytes(member: &[u8]) -> usize {
    let told = member.last_chunk().copied().unwrap_or_default();
    u32::from_le_bytes(told) as usize
}

/// Cuts the file into members and hands them on.
struct Reading {
    input: BufReader<Hashed>,
    jobs: SyncSender<Job>,
    order: SyncSender<Awaited>,
    offset: u64,
}

impl Reading {
    /// To the end of the file, or until nobody listens.
    fn run(mut self) -> Option<Whole> {
        loop {
            match self.next_member() {
                Ok(true) => {}
                Ok(false) => break,
                Err(damage) => {
                    let (result, awaited) = sync_channel(1);
                    let _ = result.send(Err(damage));
                    let _ = self.order.send(awaited);
                    break;
                }
            }
        }
        // The hash is of the whole file, whatever is wrong with what it holds.
        io::copy(&mut self.input, &mut io::sink()).ok()?;
        let hashed = self.input.into_inner();
        Some(Whole {
            bytes: hashed.bytes,
            hash: hex(hashed.hash),
        })
    }

    /// Whether another may follow.
    fn next_member(&mut self) -> Result<bool, Damage> {
        let mut member = Vec::new();
        self.read(HEADER_BYTES, &mut member)?;
        if member.is_empty() && self.offset > 0 {
            return Ok(false);
        }
        if !member.starts_with(b"\x1f") {
            return Err(match self.offset {
                0 => self.damage(DamageKind::NotGzip, "it is no gzip file"),
                _ => self.damage(
                    DamageKind::Trailing,
                    "bytes that are no gzip member follow the last one",
                ),
            });
        }
        let told = told_length(&member);
        let told = told.map_err(|error| self.damage(DamageKind::Corrupt, &error.to_string()))?;
        match told {
            Some(length) if length <= MEMBER_MAX_BYTES => self.hand_on(length, member),
            _ => self.stream(member),
        }
    }

    fn hand_on(&mut self, length: usize, mut member: Vec<u8>) -> Result<bool, Damage> {
        self.read(length - HEADER_BYTES, &mut member)?;
        if member.len() < length {
            return Err(self.damage(DamageKind::Truncated, "the file ends within a member"));
        }
        let offset = self.offset;
        let (result, awaited) = sync_channel(1);
        if content_bytes(&member) > MEMBER_MAX_BYTES {
            return Err(self.damage(DamageKind::Corrupt, "a member tells to hold too much"));
        }
        self.offset += length as u64;
        let job = Job {
            offset,
            member,
            result,
        };
        Ok(self.order.send(awaited).is_ok() && self.jobs.send(job).is_ok())
    }

    /// The rest of the file, from a member whose first bytes were read already.
    fn stream(&mut self, begin: Vec<u8>) -> Result<bool, Damage> {
        let offset = self.offset;
        let (result, awaited) = sync_channel(1);
        if self.order.send(awaited).is_err() {
            return Ok(false);
        }
        let chained = io::Cursor::new(begin).chain(&mut self.input);
        let stream = Gunzip::new(chained);
        let mut stream = stream.map_err(|error| damage_of(&error, offset))?;
        loop {
            let mut content = Vec::new();
            let mut chunk = stream.by_ref().take(CHUNK_BYTES as u64);
            let read = chunk.read_to_end(&mut content);
            let is_over = content.is_empty();
            if !is_over && result.send(Ok(Piece { offset, content })).is_err() {
                return Ok(false);
            }
            if let Err(error) = read {
                let _ = result.send(Err(damage_of(&error, offset)));
                return Ok(false);
            }
            if is_over {
                return Ok(false);
            }
        }
    }

    /// Reads up to so many bytes onto the end of `bytes`.
    fn read(&mut self, count: usize, bytes: &mut Vec<u8>) -> Result<(), Damage> {
        let read = self.input.by_ref().take(count as u64).read_to_end(bytes);
        read.map(|_| ())
            .map_err(|error| self.damage(DamageKind::Unreadable, &error.to_string()))
    }

    fn damage(&self, kind: DamageKind, reason: &str) -> Damage {
        Damage {
            kind,
            offset: self.offset,
            reason: reason.to_owned(),
        }
    }
}

/// What an error of the stream means.
fn damage_of(error: &io::Error, offset: u64) -> Damage {
    let reason = error.to_string();
    let kind = match error.kind() {
        io::ErrorKind::UnexpectedEof => DamageKind::Truncated,
        io::ErrorKind::InvalidData if reason.starts_with("bytes that") => DamageKind::Trailing,
        io::ErrorKind::InvalidData => DamageKind::Corrupt,
        _ => DamageKind::Unreadable,
    };
    Damage {
        kind,
        offset,
        reason,
    }
}

/// A file that is hashed as it is read.
struct Hashed {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Hashed {
    fn new(file: File) -> Self {
        Self {
            file,
            hash: Sha256::new(),
            bytes: 0,
        }
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::member::Deflater;
    use std::io::Write;

    fn open(bytes: &[u8]) -> Inflate {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        Inflate::new(file, 3)
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
        for (bytes, content) in [
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
        let first = told_length(&own).unwrap().unwrap() as u64;
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
        assert_eq!(damages(b"junk"), (0, vec![(DamageKind::NotGzip, 0)]));
        assert_eq!(damages(b""), (0, vec![(DamageKind::NotGzip, 0)]));
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
