//! An archive that is being written: partial, synced, renamed, its directory synced, in the order of
//! writes of the design.
//!
//! Knows no catalog and no format. A partial that is dropped before it is committed is removed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::archives::advisory_lock::{is_at, lock};
use crate::archives::durable::{dir_of, make_file, privately, rename_new, sync_dir, with_suffix};
use crate::flock;

/// Where an archive is while it is written.
pub fn partial_path(archive: &Path) -> PathBuf {
    with_suffix(archive, ".partial")
}

/// Removes what a killed process left of an archive that it was writing: the partial, and the empty file that
/// kept the name for a rename that did not come.
///
/// # Errors
/// Another process that is at work on it, and those of the file system.
pub fn remove_abandoned(archive: &Path) -> io::Result<()> {
    let Some(partial) = lock(&partial_path(archive))? else {
        return Ok(());
    };
    match lock(archive) {
        Ok(Some(held)) if held.size_bytes == 0 => held.unlink()?,
        // Whatever else is there is not of that process.
        _ => {}
    }
    partial.unlink()
}

/// An archive that is being written; locked as long as this lives, so that recovery knows that
/// somebody is at work.
pub struct Partial {
    /// Open to be written, and to be read back.
    pub file: File,
    /// Where it is now: the partial, then the archive.
    place: PathBuf,
    archive: PathBuf,
    is_committed: bool,
}

impl Partial {
    /// Makes the partial of `archive` and locks it.
    ///
    /// # Errors
    /// One that is there already, and those of the file system.
    pub fn make(archive: &Path) -> Result<Self> {
        let partial = partial_path(archive);
        let cannot = || format!("cannot make '{}'", partial.display());
        let file = privately(|| make_file(&partial)).with_context(cannot)?;
        let made = Self {
            file,
            place: partial.clone(),
            archive: archive.to_owned(),
            is_committed: false,
        };
        let is_locked = flock::exclusive(&made.file).with_context(cannot)?;
        ensure!(is_locked, "{}: another program has locked it", cannot());
        Ok(made)
    }

    /// Gives the archive its name; it lasts from here on.
    ///
    /// # Errors
    /// A file that has the name already, and those of the file system.
    pub fn commit(&mut self) -> Result<()> {
        let (partial, archive) = (&self.place, &self.archive);
        let cannot = || format!("cannot finish '{}'", archive.display());
        self.file.sync_all().with_context(cannot)?;
        rename_new(partial, archive).with_context(cannot)?;
        self.place.clone_from(archive);
        sync_dir(dir_of(archive))?;
        self.is_committed = true;
        Ok(())
    }

    /// Whether it is still where it was put.
    pub fn is_in_place(&self) -> io::Result<bool> {
        is_at(&self.place, &self.file.metadata()?)
    }

    /// Gives back the space of an archive that will not be finished: without it, there may be
    /// none for the record of that. The lock stays, so that recovery leaves the row to us.
    pub fn abandon(&self) {
        // Best effort: the file is removed when this is dropped.
        let _ = self.file.set_len(0);
    }

    /// Removes the file, in the session that records why: what a crash leaves in between is a
    /// row without a file, and not a file without a row, which nobody would look for.
    pub fn remove(&self) {
        // Where that fails, it is tried again when this is dropped.
        let _ = std::fs::remove_file(&self.place);
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_committed {
            // Locked by us and to nobody's use; what stays, recovery removes.
            self.remove();
        }
    }
}
