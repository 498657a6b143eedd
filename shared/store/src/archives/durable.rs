//! Directories and names that are still there after a loss of power, and closed to others.
//!
//! What is made in a directory lasts once the directory itself is synced (fsync(2)). Knows no
//! catalog and no archive.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{
    Access, AtFlags, CWD, Mode, RenameFlags, access, accessat, renameat_with, syncfs,
};
use rustix::io::Errno;
use rustix::process::umask;

/// Does something while what is made is closed to others, whatever the user's umask. Not while
/// other threads of this process make files.
pub fn privately<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(Mode);
    impl Drop for Restore {
        fn drop(&mut self) {
            umask(self.0);
        }
    }
    let _restore = Restore(umask(Mode::RWXG | Mode::RWXO));
    work()
}

/// Makes a file of mode 0600, to be written and read back. What is there already, if only as a link,
/// is an error (O_EXCL).
pub(crate) fn make_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    options.mode(0o600).open(path)
}

/// The directory that a file is in.
pub fn dir_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

/// A name beside a file: its own, and more.
pub(crate) fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

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

/// Whether something could be made in a directory, or the directory itself where it is missing, as far as its
/// rights tell. Changes nothing.
///
/// # Errors
/// What is in the way.
pub fn check_makeable(dir: &Path) -> Result<()> {
    let there = dir.ancestors().find(|it| it.symlink_metadata().is_ok());
    let there = there.unwrap_or(Path::new("/"));
    let checked = match there.is_dir() {
        true => {
            let wanted = Access::WRITE_OK | Access::EXEC_OK;
            accessat(CWD, there, wanted, AtFlags::EACCESS)
        }
        false => Err(Errno::NOTDIR),
    };
    checked.with_context(|| format!("cannot make a directory in '{}'", there.display()))
}

/// Makes a directory for archives where it is missing.
pub fn make_storage(dir: &Path) -> Result<()> {
    privately(|| make_dir(dir))
        .with_context(|| format!("cannot make the storage directory '{}'", dir.display()))?;
    access(dir, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(io::Error::from)
        .with_context(|| format!("cannot write to the storage directory '{}'", dir.display()))?;
    // What would fail after the work is tried before it.
    sync_dir(dir)
}

/// Renames a file and never replaces another. It lasts once both directories are synced.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], [`io::ErrorKind::CrossesDevices`], and others of the file
/// system.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can do it; a link never replaces either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match std::fs::hard_link(from, to) {
            Ok(()) => std::fs::remove_file(from).inspect_err(|_| {
                // As it was; where even that fails, both names are good.
                let _ = std::fs::remove_file(to);
            }),
            Err(error) if has_no_links(&error) => rename_reserved(from, to),
            Err(error) => Err(error),
        },
        renamed => Ok(renamed?),
    }
}

/// As link(2) has it, and some drivers.
fn has_no_links(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    [
        Errno::PERM,
        Errno::OPNOTSUPP,
        Errno::NOSYS,
        Errno::MLINK,
        Errno::INVAL,
    ]
    .iter()
    .any(|it| errno == Some(*it))
}

/// Renames over an empty file that was made for that, and that nobody else can make or, between
/// programs of bk, replace. A crash in between leaves it, and recovery removes it.
fn rename_reserved(from: &Path, to: &Path) -> io::Result<()> {
    make_file(to)?;
    std::fs::rename(from, to).inspect_err(|_| {
        // The first error is the one to tell; what stays is empty.
        let _ = std::fs::remove_file(to);
    })
}

/// Makes the names in a directory last.
pub fn sync_dir(dir: &Path) -> Result<()> {
    sync(dir).with_context(|| format!("cannot sync '{}'", dir.display()))
}

fn sync(dir: &Path) -> io::Result<()> {
    let dir = File::open(dir)?;
    match dir
        .sync_all()
        .map_err(|error| (Errno::from_io_error(&error), error))
    {
        // Where a directory cannot be synced (vboxsf, 9p2000, some FUSE), its file system is.
        Err((Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP), _)) => Ok(syncfs(&dir)?),
        synced => synced.map_err(|(_, error)| error),
    }
}
