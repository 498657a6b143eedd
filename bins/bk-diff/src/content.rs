//! What files hold, as hashes: the same for the same content, however much of it is holes.
//!
//! Reads archives as streams. Knows no change.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{ErrorKind, Read};

use anyhow::{Context, Result};
use bk_archive::read::entries::Entries;
use bk_archive::write::place::Place;
use bk_archive::{hashed, threads};
use bk_schema::record::Backup;
use bk_store::archives::open::open;
use blake3::Hasher;

use crate::live::Live;

/// A hole is told by whole blocks.
const BLOCK_BYTES: usize = 64 << 10;

/// The hashes of files by their names. A name that is missing could not be read.
pub(crate) type Hashes = HashMap<Vec<u8>, blake3::Hash>;

/// Of the files of an archive.
///
/// # Errors
/// Damage and failed reads.
pub(crate) fn of_archive(backup: &Backup, wanted: &HashSet<&[u8]>) -> Result<Hashes> {
    let cannot = || format!("cannot read '{}'", backup.backup_path.escape_debug());
    let file = open(backup, hashed::open).with_context(cannot)?;
    let read = || -> Result<Hashes> {
        let mut hashes = Hashes::new();
        let mut entries = Entries::read(&file, None, threads::available(), false, &|| false)?;
        while let Some(entry) = entries.next_entry()? {
            if !wanted.contains(&*entry.path) {
                continue;
            }
            let mut digest = Digest::new();
            let mut content = entries.content();
            for extent in &*entry.data() {
                digest.read(extent.offset, &mut (&mut content).take(extent.length))?;
            }
            hashes.insert(entry.path, digest.finish(entry.size));
        }
        Ok(hashes)
    };
    read().with_context(cannot)
}

/// Of the sources as they are. `failed` gets the files that cannot be read.
pub(crate) fn of_live(
    live: &Live,
    wanted: &HashSet<&[u8]>,
    failed: &mut dyn FnMut(&anyhow::Error),
) -> Hashes {
    let mut hashes = Hashes::new();
    for name in wanted {
        let Some(path) = live.path_of(name) else {
            continue;
        };
        let hash = || -> Result<_> {
            let mut file: File = Place::from_path(&path).open()?;
            let mut digest = Digest::new();
            let bytes = digest.read(0, &mut file)?;
            Ok(digest.finish(bytes))
        };
        match hash().with_context(|| format!("cannot read '{}'", path.display())) {
            Ok(hash) => drop(hashes.insert(name.to_vec(), hash)),
            Err(error) => failed(&error),
        }
    }
    hashes
}

/// Hashes the blocks that are not all zeros, each with its place.
struct Digest {
    hasher: Hasher,
    /// Where the present block begins.
    begin: u64,
    block: Vec<u8>,
}

impl Digest {
    fn new() -> Self {
        Self {
            hasher: Hasher::new(),
            begin: 0,
            block: Vec::with_capacity(BLOCK_BYTES),
        }
    }

    /// Adds all that comes, which begins at an offset behind all that was added before. Returns how many
    /// bytes it was.
    fn read(&mut self, offset: u64, input: &mut dyn Read) -> Result<u64> {
        let mut buffer = vec![0; BLOCK_BYTES];
        let mut at = offset;
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return Ok(at - offset),
                Ok(count) => {
                    self.add(at, &buffer[..count]);
                    at += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn add(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = (offset % BLOCK_BYTES as u64) as usize;
            let begin = offset - within as u64;
            if begin != self.begin {
                self.end_block();
                self.begin = begin;
            }
            self.block.resize(within, 0);
            let (part, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - within));
            self.block.extend_from_slice(part);
            offset += part.len() as u64;
            bytes = rest;
        }
    }

    fn end_block(&mut self) {
        let last = self.block.iter().rposition(|byte| *byte != 0);
        if let Some(last) = last {
            self.hasher.update(&self.begin.to_le_bytes());
            self.hasher.update(&(last as u64).to_le_bytes());
            self.hasher.update(&self.block[..=last]);
        }
        self.block.clear();
    }

    fn finish(mut self, size_bytes: u64) -> blake3::Hash {
        self.end_block();
        self.hasher.update(&size_bytes.to_le_bytes());
        self.hasher.finalize()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn digest(parts: &[(u64, &[u8])], size_bytes: u64) -> blake3::Hash {
        let mut digest = Digest::new();
        for (offset, bytes) in parts {
            digest.read(*offset, &mut &**bytes).unwrap();
        }
        digest.finish(size_bytes)
    }

    #[test]
    fn zeros_are_the_same_as_a_hole() {
        let far = 3 * BLOCK_BYTES as u64 + 5;
        let mut whole = vec![0; far as usize + 4];
        whole[..2].copy_from_slice(b"ab");
        whole[far as usize..far as usize + 2].copy_from_slice(b"cd");
        let size = whole.len() as u64;
        let all = digest(&[(0, &whole)], size);
        assert_eq!(digest(&[(0, b"ab"), (far, b"cd")], size), all);
        assert_eq!(
            digest(&[(0, b"a"), (1, b"b\0\0"), (far - 1, b"\0cd\0")], size),
            all
        );
        for other in [
            digest(&[(0, b"ab"), (far, b"cd")], size + 1),
            digest(&[(0, b"ab"), (far - 1, b"cd")], size),
            digest(&[(0, b"ab"), (far - BLOCK_BYTES as u64, b"cd")], size),
            digest(&[(0, b"ab")], size),
        ] {
            assert_ne!(other, all);
        }
    }
}
