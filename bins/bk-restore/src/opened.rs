//! The archive of a record: opened once, and checked against the hash in the catalog.
//!
//! All that follows reads the same descriptor: an archive that is removed or replaced meanwhile
//! changes nothing.

use std::fs::File;
use std::io::{ErrorKind, Seek};

use anyhow::{Context, Result, bail, ensure};
use bk_archive::extract::Observer;
use bk_archive::hashed::{self, Whole};
use bk_schema::moving;
use bk_schema::record::{Backup, Status};

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
        let file = match moving::open(backup, hashed::open) {
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
            let whole = hashed::whole(opened.file.try_clone()?, &mut |bytes| {
                watch.add(bytes);
                !watch.is_stopped()
            });
            let whole = whole.with_context(|| format!("'{path}'"))?;
            opened.check(whole.context("interrupted")?, &path)?;
            (&opened.file).rewind()?;
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
