//! Archives encrypted before they are sent: once, into a file of the home, so that an upload that goes on sends
//! the same bytes.
//!
//! Knows no location. What is in the file is of no use without a private key.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bk_cli::Progress;
use bk_cli::units::human_size;
use bk_offsite::encryption;
use bk_store::archives::durable::dir_of;
use bk_store::archives::space::Space;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::journal::Journal;
use crate::object::{Object, hex};

/// So much is encrypted between two looks at the signals.
const PIECE_BYTES: u64 = 1 << 20;
/// Encryption adds 16 to each 64 KiB, and a header.
const BYTES_PER_ADDED: u64 = 4096;
const HEADER_BYTES: u64 = 64 << 10;

/// A signal came.
#[derive(Debug)]
pub(crate) struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Stopped {}

/// How the objects of a run are encrypted.
pub(crate) struct Encryption<'a> {
    pub(crate) recipients: &'a [String],
    pub(crate) progress: &'a Progress,
    /// Asked between two pieces.
    pub(crate) is_stopped: &'a dyn Fn() -> bool,
}

impl Encryption<'_> {
    /// The encrypted archive: the one that an earlier run has begun to send, or a new one. `is_to_last` tells that
    /// a later run may need it.
    ///
    /// # Errors
    /// An archive that is not what its record says; no room in the home.
    pub(crate) fn object(
        &self,
        archive: Object,
        journal: &Journal,
        is_to_last: bool,
    ) -> Result<Object> {
        let path = journal.spool_path();
        let plan = journal.plan.as_ref();
        let plan = plan.filter(|it| it.is_of(&archive.hash, self.recipients));
        if let Some(plan) = plan
            && let Ok(file) = open(&path, false)
            && file.metadata().is_ok_and(|it| it.len() == plan.size_bytes)
        {
            self.progress.add(archive.size_bytes);
            let (size_bytes, hash) = (plan.size_bytes, plan.object_hash.clone());
            return Ok(Object::spooled(file, size_bytes, hash, &path));
        }
        check_room(dir_of(&path), archive.size_bytes)?;
        let cannot = || format!("cannot write '{}'", path.display());
        let file = open(&path, true).with_context(cannot)?;
        let (size_bytes, hash) = self.encrypt(archive, &file, cannot)?;
        if is_to_last {
            file.sync_data().with_context(cannot)?;
        }
        (&file).rewind().with_context(cannot)?;
        Ok(Object::spooled(file, size_bytes, hash, &path))
    }

    /// Encrypts all of it; returns how much that is, and its SHA-256.
    fn encrypt(
        &self,
        mut archive: Object,
        file: &File,
        cannot: impl Fn() -> String,
    ) -> Result<(u64, String)> {
        let mut output = Hashing::new(BufWriter::with_capacity(PIECE_BYTES as usize, file));
        let mut writer = encryption::encrypt(self.recipients, &mut output)?;
        loop {
            ensure!(!(self.is_stopped)(), Stopped);
            let piece = archive.next(PIECE_BYTES)?;
            if piece.is_empty() {
                break;
            }
            writer.write_all(&piece).with_context(&cannot)?;
            self.progress.add(piece.len() as u64);
        }
        archive.check()?;
        let ended = writer.finish().and_then(Write::flush);
        ended.with_context(cannot)?;
        Ok((output.bytes, hex(output.hash)))
    }

    /// What lies beside an archive, encrypted into a file without a name.
    ///
    /// # Errors
    /// A failed read; no room in the home.
    pub(crate) fn unnamed(&self, mut file: &File, journal: &Journal) -> Result<File> {
        let path = journal.spool_path();
        let dir = dir_of(&path);
        let cannot = || format!("cannot write a temporary file in '{}'", dir.display());
        let mut encrypted = tempfile::tempfile_in(dir).with_context(cannot)?;
        let mut writer = encryption::encrypt(self.recipients, BufWriter::new(&encrypted))?;
        io::copy(&mut file, &mut writer).with_context(cannot)?;
        let ended = writer.finish().and_then(|mut output| output.flush());
        ended
            .and_then(|()| encrypted.rewind())
            .with_context(cannot)?;
        Ok(encrypted)
    }
}

/// The file is that of a journal, which is locked: nobody else has it.
fn open(path: &Path, is_new: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(is_new)
        .create(is_new)
        .truncate(is_new)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)
}

fn check_room(dir: &Path, archive_bytes: u64) -> Result<()> {
    let needed = archive_bytes + archive_bytes / BYTES_PER_ADDED + HEADER_BYTES;
    let Some(space) = Space::at(dir)? else {
        return Ok(());
    };
    // The catalog is on that disk, too.
    let reserve = space.default_reserve();
    ensure!(
        needed.saturating_add(reserve) <= space.available_bytes,
        "it is encrypted into '{}' first, where {} are needed and {} to stay free, and {} are free: make room there, or make it a link to a directory that has room",
        dir.display(),
        human_size(needed),
        human_size(reserve),
        human_size(space.available_bytes)
    );
    Ok(())
}

/// Counts and hashes what is written through it.
struct Hashing<W> {
    output: W,
    bytes: u64,
    hash: Sha256,
}

impl<W> Hashing<W> {
    fn new(output: W) -> Self {
        Self {
            output,
            bytes: 0,
            hash: Sha256::new(),
        }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
