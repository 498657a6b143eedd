//! What cuts an archive into members: where it is in the file, and who gets them.
//!
//! Knows no format of members but how one is read as a stream.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::SyncSender;

use crate::format::codec::Codec;
use crate::format::damage::{Damage, DamageKind};
use crate::hashed::Hashed;
use crate::pool::Jobs;

/// The size of the pieces of what is read as a stream.
const CHUNK_BYTES: usize = 1 << 20;
/// A part of the content, in the order of the file.
#[derive(Debug)]
pub struct Piece {
    /// The byte of the file at which its member begins.
    pub offset: u64,
    /// The content.
    pub content: Vec<u8>,
}

/// The byte of the file at which a member begins, and the member.
pub(super) type Member = (u64, Vec<u8>);

/// Reads the file, and hands members on.
pub(super) struct Cutter {
    pub(super) codec: Codec,
    pub(super) input: BufReader<Hashed>,
    pub(super) members: Jobs<Member, Result<Piece, Damage>>,
    pub(super) offset: u64,
    /// Whether headers are held against those that bk writes.
    pub(super) is_strict: bool,
}

impl Cutter {
    /// Whether anybody listens.
    pub(super) fn tell(&self, damage: Damage) -> bool {
        self.members.result(Err(damage))
    }

    /// What is no member, where one should begin.
    pub(super) fn no_member(&self) -> Damage {
        let name = self.codec.member_name();
        match self.offset {
            0 => self.damage(
                DamageKind::NotAnArchive,
                "it is neither a gzip nor a zstd file",
            ),
            _ => self.damage(
                DamageKind::Trailing,
                &format!("bytes that are no {name} follow the last one"),
            ),
        }
    }

    /// Reads up to so many bytes onto the end of `bytes`.
    pub(super) fn read(&mut self, count: usize, bytes: &mut Vec<u8>) -> Result<(), Damage> {
        let read = self.input.by_ref().take(count as u64).read_to_end(bytes);
        read.map(|_| ())
            .map_err(|error| self.damage(DamageKind::Unreadable, &error.to_string()))
    }

    pub(super) fn damage(&self, kind: DamageKind, reason: &str) -> Damage {
        Damage::new(kind, self.offset, reason)
    }
}

/// Hands on what the member at the start of `input` holds, in chunks, and returns the length of the
/// member; `None` if the receiver is gone. Nothing beyond the member is consumed.
pub(super) fn stream(
    codec: Codec,
    place: Option<SyncSender<Result<Piece, Damage>>>,
    offset: u64,
    input: impl BufRead,
) -> Result<Option<u64>, Damage> {
    let Some(place) = place else {
        return Ok(None);
    };
    let damage = |error| Damage::of(&error, offset);
    let mut stream = codec.stream(input).map_err(damage)?;
    loop {
        let mut content = Vec::new();
        let mut chunk = stream.by_ref().take(CHUNK_BYTES as u64);
        let read = chunk.read_to_end(&mut content);
        let is_over = content.is_empty();
        if !is_over && place.send(Ok(Piece { offset, content })).is_err() {
            return Ok(None);
        }
        read.map_err(damage)?;
        if is_over {
            return Ok(Some(stream.taken_bytes()));
        }
    }
}
