//! Directories that are still there after a loss of power.
//!
//! What is made in a directory lasts once the directory itself is synced (fsync(2)). Knows no
//! catalog and no archive.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Makes a directory with mode 0700 and those above it, where they are missing, to last.
///
/// # Errors
/// Those of the file system; what is in its place and no directory.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    make_dir(parent)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Another process was faster, or something else is in its place.
            if !dir.is_dir() {
                return Err(rustix::io::Errno::NOTDIR.into());
            }
        }
        made => made?,
    }
    sync(parent)
}

/// Makes the names in a directory last.
///
/// # Errors
/// Those of the file system.
pub fn sync_dir(dir: &Path) -> Result<()> {
    sync(dir).with_context(|| format!("cannot sync '{}'", dir.display()))
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
