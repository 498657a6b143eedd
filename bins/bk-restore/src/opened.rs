//! The archive of a record: opened once, and checked against the hash in the catalog.
//!
//! All that follows reads the same descriptor: an archive that is removed or replaced meanwhile
//! changes nothing.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, bail, ensure};
use bk_archive::extract::Observer;
use bk_archive::hash::hash_of;
use bk_archive::inflate::Whole;
use bk_schema::record::{Backup, Status};
use rustix::fs::OFlags;

use crate::watch::Watch;

/// An archive that is open.
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) bytes: u64,
    /// What it is to have, where that is checked.
    hash: Option<String>,
}

impl Opened {
    /// # Errors
    /// A backup without an archive, and one whose hash is not the recorded one.
    pub(crate) fn open(backup: &Backup, verify: bool, watch: &Watch) -> Result<Self> {
        let path = backup.backup_path.escape_debug();
        if matches!(backup.status, Status::Creating | Status::Failed) {
            bail!("it has no archive: it is {}", backup.status.name());
        }
        // A FIFO in the place of an archive would block.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(&backup.backup_path);
        let file = match file {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("its archive '{path}' is missing")
            }
            file => file.with_context(|| format!("'{path}'"))?,
        };
        let metadata = file.metadata()?;
        ensure!(
            metadata.is_file(),
            "its archive '{path}' is no regular file"
        );
        let opened = Self {
            file,
            bytes: metadata.len(),
            hash: backup.backup_hash.clone().filter(|_| verify),
        };
        if opened.hash.is_some() {
            watch.begin(opened.bytes, "checked");
            let whole = hash_of(&opened.file, |bytes| {
                watch.add(bytes);
                ensure!(!watch.is_stopped(), "interrupted");
                Ok(())
            });
            opened.check(whole.with_context(|| format!("'{path}'"))?, &path)?;
        }
        Ok(opened)
    }

    /// Whether the record speaks of these very bytes.
    pub(crate) fn is_verified(&self) -> bool {
        self.hash.is_some()
    }

    /// That what was read while restoring is still what was checked before.
    ///
    /// # Errors
    /// An archive that was written to meanwhile.
    pub(crate) fn check_again(&self, whole: Option<Whole>, path: &str) -> Result<()> {
        match whole {
            Some(whole) => self.check(whole, path),
            None => Ok(()),
        }
    }

    fn check(&self, whole: Whole, path: impl std::fmt::Display) -> Result<()> {
        ensure!(
            self.hash.as_ref().is_none_or(|hash| *hash == whole.hash),
            "its archive '{path}' is not what was recorded: its SHA-256 differs; bk-verify tells more, --no-verify restores what can be read"
        );
        Ok(())
    }
}
