//! Inflates a member as a stream and sends it in chunks.
//!
//! Knows nothing about the content.

use std::io::{BufRead, Read};
use std::sync::mpsc::SyncSender;

use flate2::bufread::GzDecoder;

use crate::format::damage::Damage;

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

/// Hands on what the member at the start of `input` holds, in chunks, and returns the length of the
/// member; `None` if the receiver is gone. Nothing beyond the member is consumed.
pub(crate) fn stream(
    place: Option<SyncSender<Result<Piece, Damage>>>,
    offset: u64,
    input: impl BufRead,
) -> Result<Option<u64>, Damage> {
    let Some(place) = place else {
        return Ok(None);
    };
    // Without a limit in effect: what is left of it tells how much was taken.
    let mut gunzip = GzDecoder::new(input.take(u64::MAX));
    loop {
        let mut content = Vec::new();
        let mut chunk = gunzip.by_ref().take(CHUNK_BYTES as u64);
        let read = chunk.read_to_end(&mut content);
        let is_over = content.is_empty();
        if !is_over && place.send(Ok(Piece { offset, content })).is_err() {
            return Ok(None);
        }
        read.map_err(|error| Damage::of(&error, offset))?;
        if is_over {
            return Ok(Some(u64::MAX - gunzip.get_ref().limit()));
        }
    }
}
