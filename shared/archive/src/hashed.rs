//! The SHA-256 of a file, and a reader that takes it on the way.
//!
//! Knows nothing of what it holds.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

/// Large, so that a disk is read at its speed.
const READ_BYTES: usize = 1 << 20;

/// The file that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// How long it is.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hex.
    pub hash: String,
}

/// Opens what may be a regular file: a FIFO in the place of an archive does not block.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Reads a regular file from its start to its end, wherever it was read to. `go_on` is told of
/// the bytes that were read; `None` where it says no.
///
/// # Errors
/// Those of read(2).
pub fn whole(file: &File, go_on: &mut dyn FnMut(u64) -> bool) -> io::Result<Option<Whole>> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read_at(&mut buffer, bytes) {
            Ok(0) => {
                let hash = hex(hash);
                return Ok(Some(Whole { bytes, hash }));
            }
            Ok(count) => {
                hash.update(&buffer[..count]);
                bytes += count as u64;
                if !go_on(count as u64) {
                    return Ok(None);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Hashes what is read through it.
pub(crate) struct Hashed {
    file: File,
    /// Gone once something was passed over.
    hash: Option<Sha256>,
    /// Seen by who waits for it.
    bytes: Arc<AtomicU64>,
}

impl Hashed {
    pub(crate) fn new(file: File, bytes: Arc<AtomicU64>) -> Self {
        Self {
            file,
            hash: Some(Sha256::new()),
            bytes,
        }
    }

    /// Once all was read; `None` where something was passed over.
    pub(crate) fn whole(self) -> Option<Whole> {
        Some(Whole {
            hash: hex(self.hash?),
            bytes: self.bytes.load(Ordering::Relaxed),
        })
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..count]);
        }
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Seek for Hashed {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.hash = None;
        self.file.seek(to)
    }
}

/// As sha256sum(1) prints it.
#[must_use]
pub fn hex(hash: Sha256) -> String {
    let hash = hash.finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
