//! What a round leaves that could not read the catalog, for the next one to tell of the jobs that were due:
//! without the catalog nobody knows which those were.
//!
//! Knows no job and no catalog.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bk_store::lock::Timeout;
use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

/// A round that came to nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Missed {
    pub(crate) began: Timestamp,
    /// Why.
    pub(crate) reason: String,
}

/// Keeps a round that failed because the catalog stayed locked. Of several in a row the first is kept: it tells
/// since when.
///
/// # Errors
/// A home that cannot be written to.
pub(crate) fn keep(home: &Path, began: Timestamp, error: &anyhow::Error) -> Result<()> {
    if !error.is::<Timeout>() {
        return Ok(());
    }
    let path = path(home);
    let cannot = || format!("cannot write '{}'", path.display());
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    let mut file = match opened {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        opened => opened.with_context(cannot)?,
    };
    let reason = format!("{error:#}");
    let line = serde_json::to_string(&Missed { began, reason })?;
    let written = file.write_all(format!("{line}\n").as_bytes());
    let written = written.and_then(|()| file.sync_all());
    if written.is_err() {
        // What is there in part would keep the next one from being kept; the first error is the one to tell.
        let _ = fs::remove_file(&path);
    }
    written.with_context(cannot)
}

/// Whether a round was kept.
pub(crate) fn is_kept(home: &Path) -> bool {
    path(home).symlink_metadata().is_ok()
}

/// The round that was kept; none where what is there cannot be understood.
pub(crate) fn kept(home: &Path) -> Option<Missed> {
    let mut options = File::options();
    options.read(true);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    let file = options.open(path(home)).ok()?;
    serde_json::from_reader(file).ok()
}

/// Keeps none: the ledger has it.
///
/// # Errors
/// A home that cannot be written to.
pub(crate) fn clear(home: &Path) -> Result<()> {
    let path = path(home);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove '{}'", path.display())),
    }
}

/// The file that keeps it.
pub(crate) fn path(home: &Path) -> PathBuf {
    home.join("auto.missed")
}
