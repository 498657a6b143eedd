//! The lock of a job, and what its file keeps until the ledger has it: that a run began, then how it
//! ended. Who takes the lock next records what was left.
//!
//! Knows no catalog.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bk_store::flock;
use jiff::Timestamp;
use rustix::fs::OFlags;
use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// More than a run leaves.
const LEFT_MAX_BYTES: u64 = 1 << 20;

/// A run that the ledger does not have yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Unrecorded {
    pub(crate) began: Timestamp,
    /// The time of the schedule that it is for.
    pub(crate) scheduled: Option<Timestamp>,
    /// `None` while it goes on, and where it was killed.
    pub(crate) ended: Option<Event>,
}

/// How a run ended, as the ledger is to have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) ok: bool,
    pub(crate) backup: Option<(i64, String)>,
    pub(crate) details: Value,
}

/// The lock of a job, which is held as long as this lives, or a program that shares it.
#[derive(Debug)]
pub(crate) struct JobLock {
    file: File,
    pub(crate) path: PathBuf,
}

impl JobLock {
    /// Locks a job, so that no two processes run it at once; `None` where another process runs it.
    /// The file is never removed: two processes could lock different files then.
    ///
    /// # Errors
    /// A file that cannot be made or opened.
    pub(crate) fn take(home: &Path, job: &str) -> Result<Option<Self>> {
        let path = path(home, job);
        let cannot = || format!("cannot lock '{}'", path.display());
        // Rust opens with O_CLOEXEC: no child inherits it.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
            .open(&path)
            .with_context(cannot)?;
        let is_locked = flock::exclusive(&file).with_context(cannot)?;
        Ok(is_locked.then_some(Self { file, path }))
    }

    /// Whether the file of a job may hold a run that is not recorded.
    pub(crate) fn has_left(home: &Path, job: &str) -> bool {
        let metadata = path(home, job).symlink_metadata();
        metadata.is_ok_and(|it| it.is_file() && it.len() > 0)
    }

    /// The run that was left. A line that is torn tells of none: it was being written before the run
    /// began.
    pub(crate) fn left(&self) -> Option<Unrecorded> {
        let mut text = Vec::new();
        let mut file = (&self.file).take(LEFT_MAX_BYTES);
        file.read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Keeps a run, in place of what was kept before.
    ///
    /// # Errors
    /// A disk that is full.
    pub(crate) fn keep(&self, run: &Unrecorded) -> Result<()> {
        let line = serde_json::to_string(run)? + "\n";
        // What was kept before takes the space that this needs on a full disk.
        let written = self.file.write_all_at(line.as_bytes(), 0);
        let written = written.and_then(|()| self.file.set_len(line.len() as u64));
        let written = written.and_then(|()| self.file.sync_data());
        written.with_context(|| format!("cannot write '{}'", self.path.display()))
    }

    /// Keeps none: the ledger has it.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    pub(crate) fn clear(&self) -> Result<()> {
        let cleared = self.file.set_len(0);
        cleared.with_context(|| format!("cannot write '{}'", self.path.display()))
    }

    /// Begins a program that holds the lock too, until it has ended.
    pub(crate) fn share<T>(&self, begin: impl FnOnce() -> std::io::Result<T>) -> Result<T> {
        fcntl_setfd(&self.file, FdFlags::empty())?;
        let begun = begin();
        fcntl_setfd(&self.file, FdFlags::CLOEXEC)?;
        Ok(begun?)
    }
}

fn path(home: &Path, job: &str) -> PathBuf {
    home.join(format!("auto.{job}.lock"))
}
