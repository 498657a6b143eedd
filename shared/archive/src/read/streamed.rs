//! Inflates a member as a stream and sends it in chunks.
//!
//! Knows nothing about the content.

use std::io::{BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

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

pub(crate) type Awaited = Receiver<Result<Piece, Damage>>;

/// The result of inflating a member as a stream.
pub(crate) enum Streamed {
    /// The length of the member.
    Whole(u64),
    Damaged(Damage),
    /// The receiver is gone.
    Gone,
}

/// Sends the content of the member at the start of `input`.
pub(crate) fn stream(order: &SyncSender<Awaited>, offset: u64, input: impl BufRead) -> Streamed {
    let (result, awaited) = sync_channel(1);
    if order.send(awaited).is_err() {
        return Streamed::Gone;
    }
    let mut gunzip = Gunzip::new(input);
    loop {
        let mut content = Vec::new();
        let mut chunk = gunzip.by_ref().take(CHUNK_BYTES as u64);
        let read = chunk.read_to_end(&mut content);
        let is_over = content.is_empty();
        if !is_over && result.send(Ok(Piece { offset, content })).is_err() {
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
