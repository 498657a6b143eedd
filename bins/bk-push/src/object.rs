//! The archive, or what it is encrypted to, as it is read to be sent: once, from its beginning, in parts, and
//! compared with the hash that it must have.
//!
//! Knows no location. The parts are read by one thread: whoever sends them may be many.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bk_schema::record::Backup;
use bk_store::archives::open;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

/// The archive of a record.
pub(crate) struct Object {
    file: File,
    pub(crate) size_bytes: u64,
    /// The SHA-256 that it must have.
    pub(crate) hash: String,
    path: String,
    /// What is wrong where the hash is another one.
    wrong: &'static str,
    read_hash: Sha256,
}

impl Object {
    /// Opens the archive of a backup.
    ///
    /// # Errors
    /// One that is missing, or has another size than its record says.
    pub(crate) fn open(backup: &Backup) -> Result<Self> {
        let path = backup.backup_path.clone();
        let cannot = || format!("cannot read '{path}'");
        let mut options = File::options();
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.read(true).custom_flags(flags.bits() as i32);
        let file = open::open(backup, |path| options.open(path)).with_context(cannot)?;
        let metadata = file.metadata().with_context(cannot)?;
        ensure!(metadata.is_file(), "'{path}' is no regular file");
        let size_bytes = backup.backup_size.unwrap_or_default();
        ensure!(
            metadata.len() == size_bytes,
            "'{path}' has {} bytes, and its record says {size_bytes}: 'bk-verify {}' records that",
            metadata.len(),
            backup.id
        );
        Ok(Self {
            file,
            size_bytes,
            hash: backup.backup_hash.clone().unwrap_or_default(),
            path,
            wrong: "has another hash than its record: 'bk-verify' tells and records that",
            read_hash: Sha256::new(),
        })
    }

    /// An encrypted archive, as it was when it was encrypted.
    pub(crate) fn spooled(file: File, size_bytes: u64, hash: String, path: &Path) -> Self {
        Self {
            file,
            size_bytes,
            hash,
            path: path.display().to_string(),
            wrong: "is not what was encrypted: run it again, which encrypts anew",
            read_hash: Sha256::new(),
        }
    }

    /// The next bytes, so many unless it ends before.
    ///
    /// # Errors
    /// A failed read.
    pub(crate) fn next(&mut self, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(length)?);
        let read = (&mut self.file).take(length).read_to_end(&mut bytes);
        read.with_context(|| format!("cannot read '{}'", self.path))?;
        self.read_hash.update(&bytes);
        Ok(bytes)
    }

    /// Compares what was read, which is all of it, with the hash.
    ///
    /// # Errors
    /// Another one: what was sent is not the backup.
    pub(crate) fn check(&mut self) -> Result<()> {
        let is_same = hex(std::mem::take(&mut self.read_hash)) == self.hash;
        ensure!(is_same, "'{}' {}", self.path, self.wrong);
        Ok(())
    }

    /// Reads it once without sending anything, and compares it.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(crate) fn check_first(&mut self) -> Result<()> {
        loop {
            if self.next(1 << 20)?.is_empty() {
                break;
            }
        }
        self.check()?;
        self.rewind()
    }

    /// Begins to read anew.
    pub(crate) fn rewind(&mut self) -> Result<()> {
        self.read_hash = Sha256::new();
        io::Seek::rewind(&mut self.file).with_context(|| format!("cannot read '{}'", self.path))
    }

    /// The file, at its beginning.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// As sha256sum(1) prints it.
pub(crate) fn hex(hash: Sha256) -> String {
    let hash = hash.finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
