//! Advisory lock on an archive file; tells work in progress from abandoned work.
//!
//! Knows no record and no catalog.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::archives::durable::{dir_of, rename_new};
use crate::archives::open::is_absent;
use crate::flock;

/// A file that is replaced so often while it is being locked is left to the others.
const TRIES: u32 = 10;

/// A file that this process has locked, until this is dropped.
#[derive(Debug)]
pub struct Locked {
    /// The file itself, to be read.
    pub file: File,
    /// Where it was when it was locked, or where it was renamed to.
    pub path: PathBuf,
    /// Its size when it was locked.
    pub size_bytes: u64,
}

/// Locks a file to work on it; `None` where there is none.
///
/// # Errors
/// [`ErrorKind::WouldBlock`] where another process is at work on it,
/// [`ErrorKind::InvalidInput`] for what is no regular file, and those of the file system.
pub fn lock(path: &Path) -> io::Result<Option<Locked>> {
    for _ in 0..TRIES {
        let file = match open(path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Err(no_regular_file(true));
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(no_regular_file(false));
        }
        if !flock::exclusive(&file)? {
            let text = "another program is at work on it";
            return Err(io::Error::new(ErrorKind::WouldBlock, text));
        }
        // It may have been renamed or removed before it was locked.
        if is_at(path, &metadata)? {
            return Ok(Some(Locked {
                file,
                path: path.to_owned(),
                size_bytes: metadata.len(),
            }));
        }
    }
    Err(io::Error::other("it is replaced again and again"))
}

/// The size of a file that [`lock`] would lock; `None` where there is none.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for what is no regular file, and those of the file system.
pub fn size_bytes(path: &Path) -> io::Result<Option<u64>> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
        Ok(metadata) => Err(no_regular_file(metadata.is_symlink())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn no_regular_file(is_symlink: bool) -> io::Error {
    let text = if is_symlink {
        "it is a symbolic link"
    } else {
        "it is no regular file"
    };
    io::Error::new(ErrorKind::InvalidInput, text)
}

/// NFS locks only what is open for writing; what may not be written is opened to be read.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    match options.clone().write(true).open(path) {
        Err(error) if !is_absent(&error) => options.open(path),
        opened => opened,
    }
}

/// Whether a file that is open is at a place, by its metadata.
pub fn is_at(path: &Path, metadata: &Metadata) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(now) => Ok((now.dev(), now.ino()) == (metadata.dev(), metadata.ino())),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether both are the same name in the same directory, however that is spelled: by a symbolic
/// link or another mount.
pub fn is_same_name(one: &Path, other: &Path) -> io::Result<bool> {
    let dir = |path: &Path| {
        let metadata = dir_of(path).metadata()?;
        io::Result::Ok((metadata.dev(), metadata.ino()))
    };
    Ok(one.file_name() == other.file_name() && dir(one)? == dir(other)?)
}

impl Locked {
    /// Whether this very file is there: by its own name, or by another (a hard link).
    pub fn is_at(&self, path: &Path) -> io::Result<bool> {
        is_at(path, &self.file.metadata()?)
    }

    /// Whether the other file is of its size and time: what bk-mv gives to a copy.
    pub fn looks_like(&self, other: &Self) -> io::Result<bool> {
        let facts = |file: &File| {
            let metadata = file.metadata()?;
            let mtime = (metadata.mtime(), metadata.mtime_nsec());
            io::Result::Ok((metadata.len(), mtime))
        };
        Ok(facts(&self.file)? == facts(&other.file)?)
    }

    /// Renames it, if it is still the same file, and never over another; the lock stays.
    ///
    /// # Errors
    /// As [`rename_new`], and another file in its place.
    pub fn rename(&mut self, to: &Path) -> io::Result<()> {
        self.check_place()?;
        rename_new(&self.path, to)?;
        self.path = to.to_owned();
        Ok(())
    }

    /// Removes it, if it is still the same file; the lock stays.
    ///
    /// # Errors
    /// Another file in its place, and those of the file system.
    pub fn unlink(&self) -> io::Result<()> {
        self.check_place()?;
        std::fs::remove_file(&self.path)
    }

    fn check_place(&self) -> io::Result<()> {
        if self.is_at(&self.path)? {
            return Ok(());
        }
        Err(io::Error::other("another file is in its place"))
    }
}
