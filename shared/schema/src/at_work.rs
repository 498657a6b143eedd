//! Who is at work on an archive: whoever holds a flock on the file, for as long as the work
//! lasts. So that recovery tells what a living process does from what a dead one left.
//!
//! Knows no record and no catalog.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

/// A file that is replaced so often while it is to be locked is left to the others.
const TRIES: u32 = 10;

/// A file that this process is at work on, until this is dropped.
#[derive(Debug)]
pub struct Held {
    file: File,
    path: PathBuf,
    size_bytes: u64,
}

/// Takes a file to work on it; `None` where there is none.
///
/// # Errors
/// [`ErrorKind::WouldBlock`] where another process is at work on it,
/// [`ErrorKind::InvalidInput`] for what is no regular file, and those of the file system.
pub fn hold(path: &Path) -> io::Result<Option<Held>> {
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
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let text = "another program is at work on it";
                return Err(io::Error::new(ErrorKind::WouldBlock, text));
            }
            locked => locked?,
        }
        // It may have been renamed or removed before it was locked.
        if is_at(path, &metadata)? {
            return Ok(Some(Held {
                file,
                path: path.to_owned(),
                size_bytes: metadata.len(),
            }));
        }
    }
    Err(io::Error::other("it is replaced again and again"))
}

/// The bytes of a file that [`hold`] would take; `None` where there is none.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for what is no regular file, and those of the file system.
pub fn look(path: &Path) -> io::Result<Option<u64>> {
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

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn is_at(path: &Path, metadata: &Metadata) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(now) => Ok((now.dev(), now.ino()) == (metadata.dev(), metadata.ino())),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Held {
    /// The file itself, to be read.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it was when it was taken.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size when it was taken.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Removes it, if it is still the same file; the lock stays.
    ///
    /// # Errors
    /// Another file in its place, and those of the file system.
    pub fn unlink(&self) -> io::Result<()> {
        if !is_at(&self.path, &self.file.metadata()?)? {
            return Err(io::Error::other("another file is in its place"));
        }
        std::fs::remove_file(&self.path)
    }
}
