//! Inflates a member as a stream and sends it in chunks.
//!
//! Knows nothing about the content.

use std::io::{BufRead, Read};
use std::sync::mpsc::SyncSender;

use crate::format::damage::Damage;
use crate::format::gunzip::Gunzip;

/// The size of a chunk.
const CHUNK_BYTES: usize = 1 << 20;

/// A part of the content, in the order of the file.
#[derive(Debug)]
pub struct Piece {
    /// The byte of the file at which its member begins.
    pub offset: u64,
    /// The content.
    pub content: Vec<u8>,
}

/// How the inflating of a member as a stream ended.
pub(crate) enum Streamed {
    /// The length of the member.
    Whole(u64),
    Damaged(Damage),
    /// The receiver is gone.
    Gone,
}

/// Hands on what the member at the start of `input` holds, in chunks.
pub(crate) fn stream(
    place: Option<SyncSender<Result<Piece, Damage>>>,
    offset: u64,
    input: impl BufRead,
) -> Streamed {
    let Some(place) = place else {
        return Streamed::Gone;
    };
    let mut gunzip = Gunzip::new(input);
    loop {
        let mut content = Vec::new();
        let mut chunk = gunzip.by_ref().take(CHUNK_BYTES as u64);
        let read = chunk.read_to_end(&mut content);
        let is_over = content.is_empty();
        if !is_over && place.send(Ok(Piece { offset, content })).is_err() {
            return Streamed::Gone;
        }
        if let Err(error) = read {
            return Streamed::Damaged(Damage::of(&error, offset));
        }
        if is_over {
            return Streamed::Whole(gunzip.taken_bytes());
        }
    }
}
