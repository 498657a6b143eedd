//! The SHA-256 of a whole file.
//!
//! Knows nothing of what the file holds.

use std::fs::File;
use std::io::{self, Read, Seek};

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::inflate::Whole;
use crate::writer::hex;

const BUFFER_BYTES: usize = 1 << 20;

/// Length and hash of a file from its begin to its end; `each` is told of every piece.
///
/// # Errors
/// Those of the file, and of `each`.
pub fn hash_of(mut file: &File, mut each: impl FnMut(u64) -> Result<()>) -> Result<Whole> {
    file.rewind()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hash.update(&buffer[..count]);
                bytes += count as u64;
                each(count as u64)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Whole {
        bytes,
        hash: hex(hash),
    })
}
