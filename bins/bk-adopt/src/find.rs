//! Finds archives: files named on the command line, and those in a directory.
//!
//! Follows no symbolic link below a directory, and opens nothing that another program has locked.
//! Knows no catalog and no archive's content.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bk_archive::format::codec::Codec;
use bk_store::flock;
use rustix::fs::OFlags;
use walkdir::WalkDir;

/// The ending of an archive that is being written.
const PARTIAL_ENDING: &str = ".partial";
/// Recovery, in another process, locks a file for an instant to see whether it is in use: a lock
/// that lasts longer is that of a program at work.
const LOCK_TRIES: u32 = 10;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// A file by its device and inode.
pub(crate) type Inode = (u64, u64);

/// A file that may be an archive.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Absolute.
    pub(crate) path: String,
    pub(crate) inode: Inode,
    pub(crate) bytes: u64,
    /// Seconds and nanoseconds.
    pub(crate) modified_at: (i64, i64),
    /// Whether it was named on the command line, not found in a directory.
    pub(crate) is_named: bool,
}

/// The candidates, each file once, and what could not be searched.
#[derive(Debug, Default)]
pub(crate) struct Search {
    pub(crate) found: Vec<Candidate>,
    pub(crate) failed: Vec<anyhow::Error>,
    seen: HashSet<Inode>,
}

impl Search {
    /// Adds a file, or the archives in a directory and below.
    pub(crate) fn operand(&mut self, operand: &OsString, is_recursive: bool) {
        let path = Path::new(operand);
        let found = absolute(path).and_then(|path| Ok((path.symlink_metadata()?, path)));
        let added = match found {
            Ok((metadata, path)) if metadata.is_dir() && is_recursive => {
                self.below(&path, usize::MAX);
                Ok(())
            }
            Ok((metadata, path)) => {
                check_named(&metadata, &path).and_then(|()| self.add(path, &metadata, true))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = added {
            let what = format!("cannot adopt '{}'", path.display());
            self.failed.push(error.context(what));
        }
    }

    /// Adds the archives in a directory, up to this depth.
    pub(crate) fn below(&mut self, dir: &Path, max_depth: usize) {
        let walk = WalkDir::new(dir).min_depth(1).max_depth(max_depth);
        for entry in walk.sort_by_file_name() {
            let added = match entry {
                Ok(entry) if is_archive(&entry) => {
                    let metadata = entry.metadata().map_err(anyhow::Error::from);
                    let path = entry.into_path();
                    let what = format!("cannot adopt '{}'", path.display());
                    metadata
                        .and_then(|metadata| self.add(path, &metadata, false))
                        .context(what)
                }
                Ok(_) => Ok(()),
                Err(error) => Err(cannot_walk(dir, error)),
            };
            if let Err(error) = added {
                self.failed.push(error);
            }
        }
    }

    fn add(&mut self, path: PathBuf, metadata: &Metadata, is_named: bool) -> Result<()> {
        let text = path.to_str();
        let text = text.context("its path is not UTF-8, as a record needs it: rename it")?;
        let inode = (metadata.dev(), metadata.ino());
        if self.seen.insert(inode) {
            self.found.push(Candidate {
                path: text.to_owned(),
                inode,
                bytes: metadata.len(),
                modified_at: (metadata.mtime(), metadata.mtime_nsec()),
                is_named,
            });
        }
        Ok(())
    }
}

fn check_named(metadata: &Metadata, path: &Path) -> Result<()> {
    ensure!(
        !metadata.is_dir(),
        "it is a directory: -r looks for archives in it"
    );
    ensure!(
        !metadata.is_symlink(),
        "it is a symbolic link: name the file that it points to"
    );
    ensure!(metadata.is_file(), "it is not a regular file");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ensure!(
        !name.ends_with(PARTIAL_ENDING),
        "it is a partial archive, which is being written or was given up"
    );
    Ok(())
}

/// How the names of archives end.
fn endings() -> impl Iterator<Item = &'static str> {
    Codec::ALL.into_iter().map(Codec::ending)
}

fn is_archive(entry: &walkdir::DirEntry) -> bool {
    let name = entry.file_name().as_encoded_bytes();
    entry.file_type().is_file() && endings().any(|it| name.ends_with(it.as_bytes()))
}

fn cannot_walk(dir: &Path, error: walkdir::Error) -> anyhow::Error {
    let what = format!("cannot read '{}'", error.path().unwrap_or(dir).display());
    match error.into_io_error() {
        Some(error) => anyhow::Error::from(error).context(what),
        None => anyhow::anyhow!("{what}"),
    }
}

/// The path for a record: as in bk-create, symbolic links stay and `..` is resolved.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    let leads_up = path.components().any(|part| part == Component::ParentDir);
    let absolute = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if leads_up => {
            Path::new(".").join(parent).canonicalize()?.join(name)
        }
        _ if leads_up => path.canonicalize()?,
        _ => std::path::absolute(path)?,
    };
    // absolute() keeps a trailing slash, which would make two paths of one.
    Ok(absolute.components().collect())
}

/// Opens an archive that no other program is at work on.
///
/// # Errors
/// What is not a regular file, and one that another process has locked.
pub(crate) fn open(path: &Path) -> Result<File> {
    // A FIFO would block.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    ensure!(file.metadata()?.is_file(), "it is not a regular file");
    for _ in 0..LOCK_TRIES {
        if flock::is_free(&file).map_err(std::io::Error::from)? {
            return Ok(file);
        }
        std::thread::sleep(LOCK_WAIT);
    }
    bail!("another program is at work on it")
}
