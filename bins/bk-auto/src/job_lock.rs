//! The lock of a job: a flock on a file in the home, held while the job runs, so that no two
//! processes run it at once.
//!
//! The file is never removed: two processes could lock different files then. Knows no job.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use bk_store::flock;
use rustix::fs::OFlags;

/// A job that is locked until this is dropped.
#[derive(Debug)]
pub(crate) struct JobLock {
    _file: File,
}

/// Locks a job; `None` where another process runs it.
pub(crate) fn take(home: &Path, job: &str) -> Result<Option<JobLock>> {
    let path = home.join(format!("auto.{job}.lock"));
    let cannot = || format!("cannot lock '{}'", path.display());
    // Rust opens with O_CLOEXEC: no child inherits it.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(&path)
        .with_context(cannot)?;
    let is_locked = flock::exclusive(&file).with_context(cannot)?;
    Ok(is_locked.then_some(JobLock { _file: file }))
}
