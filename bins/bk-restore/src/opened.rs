//! The archive of a record, opened once and checked against the hash in the catalog.
//!
//! All later steps read the same descriptor: an archive that is removed or replaced meanwhile
//! makes no difference. Knows no target.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail, ensure};
use bk_archive::hashed::{self, Whole};
use bk_archive::restore::extract::Observer;
use bk_cli::copies;
use bk_schema::record::{Backup, Status};
use bk_store::archives;
use bk_store::archives::open::is_absent;
use bk_store::home::Home;

use crate::watch::Watch;

/// An archive that is open.
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) bytes: u64,
    /// The expected hash, unless it is not to be checked.
    hash: Option<String>,
    /// Escaped, for messages.
    path: String,
    /// Taken before the check.
    state: State,
}

/// The size and times of a file, which change whenever it is written to.
type State = (u64, [i64; 4]);

fn state(file: &File) -> std::io::Result<State> {
    let it = file.metadata()?;
    let times = [it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec()];
    Ok((it.len(), times))
}

impl Opened {
    /// # Errors
    /// A backup without an archive, and an archive with another hash than the recorded one.
    pub(crate) fn open(home: &Home, backup: &Backup, verify: bool, watch: &Watch) -> Result<Self> {
        let path = backup.backup_path.escape_debug().to_string();
        if matches!(backup.status, Status::Creating | Status::Failed) {
            bail!(backup.status.obstacle().unwrap_or_default());
        }
        let file = match archives::open::open(backup, hashed::open) {
            Err(error) if is_absent(&error) => {
                if let Some(obstacle) = copies::remote_obstacle(home, backup) {
                    bail!(obstacle);
                }
                home.storages.check_again(backup.backup_path.as_ref())?;
                bail!("its archive '{path}' is missing")
            }
            file => file.with_context(|| format!("'{path}'"))?,
        };
        let metadata = file.metadata()?;
        ensure!(
            metadata.is_file(),
            "its archive '{path}' is not a regular file"
        );
        let opened = Self {
            state: state(&file)?,
            file,
            bytes: metadata.len(),
            hash: backup.backup_hash.clone().filter(|_| verify),
            path,
        };
        if opened.hash.is_some() {
            opened.read_and_check(watch)?;
        }
        Ok(opened)
    }

    /// Whether the archive is checked against the hash in the record.
    pub(crate) fn is_verified(&self) -> bool {
        self.hash.is_some()
    }

    /// Checks that what was extracted is what was checked before. Where only a part was read, the
    /// archive is read again if its state has changed, as it does also when a name of it is removed.
    ///
    /// # Errors
    /// An archive that was written to meanwhile.
    pub(crate) fn check_again(&self, whole: Option<Whole>, watch: &Watch) -> Result<()> {
        match whole {
            Some(whole) => self.check(&whole),
            None if self.is_verified() && state(&self.file)? != self.state => {
                self.read_and_check(watch)
            }
            None => Ok(()),
        }
    }

    fn read_and_check(&self, watch: &Watch) -> Result<()> {
        watch.begin(self.bytes, "checked");
        let whole = hashed::whole(&self.file, &mut |bytes| {
            watch.progress.add(bytes);
            !watch.is_stopped()
        });
        let whole = whole.with_context(|| format!("'{}'", self.path))?;
        self.check(&whole.context("interrupted")?)
    }

    fn check(&self, whole: &Whole) -> Result<()> {
        let path = &self.path;
        ensure!(
            self.hash.as_ref().is_none_or(|hash| *hash == whole.hash),
            "its archive '{path}' is not what was recorded: its SHA-256 differs; bk-verify shows more, --no-verify restores what can be read"
        );
        Ok(())
    }
}
