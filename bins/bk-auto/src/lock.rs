//! The lock of a job, and what its file keeps until the ledger has it: that a run began, then how it
//! ended. Who takes the lock next records what was left.
//!
//! Knows no catalog.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek};
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
/// The file has this size once a run was kept, so that the next one has room on a full disk.
const ROOM_BYTES: usize = 4096;

/// A run that the ledger does not have yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Unrecorded {
    pub(crate) began: Timestamp,
    /// The last row of the ledger for the job before it: where there is another, that is this run.
    pub(crate) after: Option<i64>,
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

/// What the file of a lock holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Left {
    Nothing,
    Run(Unrecorded),
    /// It cannot be read: the machine went down while it was written.
    Torn,
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

    /// Whether the file of a job holds a run that is not recorded. The job may be running.
    pub(crate) fn has_left(home: &Path, job: &str) -> bool {
        let path = path(home, job);
        let is_file = path.symlink_metadata().is_ok_and(|it| it.is_file());
        let is_nothing = |file: &File| read(file).is_ok_and(|left| left == Left::Nothing);
        is_file && !File::open(path).is_ok_and(|file| is_nothing(&file))
    }

    /// The run that was left.
    ///
    /// # Errors
    /// A failed read.
    pub(crate) fn left(&self) -> Result<Left> {
        read(&self.file).with_context(|| format!("cannot read '{}'", self.path.display()))
    }

    /// Keeps a run, in place of what was kept before.
    ///
    /// # Errors
    /// A disk that is full.
    pub(crate) fn keep(&self, run: &Unrecorded) -> Result<()> {
        self.write(&serde_json::to_string(run)?)
    }

    /// Keeps none: the ledger has it.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn clear(&self) -> Result<()> {
        self.write("")
    }

    /// Writes a line over what is there, with blanks for the rest.
    fn write(&self, line: &str) -> Result<()> {
        let cannot = || format!("cannot write '{}'", self.path.display());
        let there = self.file.metadata().with_context(cannot)?.len();
        let length = ROOM_BYTES.max(line.len() + 1).max(usize::try_from(there)?);
        let bytes = format!("{line:<width$}\n", width = length - 1);
        let written = self.file.write_all_at(bytes.as_bytes(), 0);
        let written = written.and_then(|()| self.file.sync_data());
        written.with_context(cannot)
    }

    /// Begins a program that holds the lock too, until it has ended.
    pub(crate) fn share<T>(&self, begin: impl FnOnce() -> std::io::Result<T>) -> Result<T> {
        fcntl_setfd(&self.file, FdFlags::empty())?;
        let begun = begin();
        fcntl_setfd(&self.file, FdFlags::CLOEXEC)?;
        Ok(begun?)
    }
}

fn read(mut file: &File) -> Result<Left> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(LEFT_MAX_BYTES).read_to_end(&mut bytes)?;
    let line = bytes.trim_ascii();
    Ok(match serde_json::from_slice(line) {
        _ if line.is_empty() => Left::Nothing,
        Ok(run) => Left::Run(run),
        Err(_) => Left::Torn,
    })
}

fn path(home: &Path, job: &str) -> PathBuf {
    home.join(format!("auto.{job}.lock"))
}
