//! The fresh directory in which all is restored before any of it is moved to its place.
//!
//! It is nobody else's, is locked as long as this process lives, and goes when it is dropped;
//! what a killed process left is removed by the next one that restores beside it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bk_archive::beneath::Beneath;
use bk_archive::remove::{empty_dir, names_in};
use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, fchmod, flock, fremovexattr, fstat, mkdirat,
    openat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::flags::PROGRAM;

/// What is restored stands under this name in the stage.
pub(crate) const TREE: &str = "new";
/// In a stage that holds what is being replaced, and so is not just anything to be removed.
const REPLACED: &str = "replaced";
const PREFIX: &str = ".bk-restore-";
const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

pub(crate) struct Stage {
    parent: OwnedFd,
    name: String,
    pub(crate) path: PathBuf,
    pub(crate) dir: Beneath,
    /// Permissions that this user gives to new directories.
    pub(crate) dir_mode: u32,
}

impl Stage {
    /// Makes it in a directory, for the restoration of a backup.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn make(within: &Path, id: i64) -> Result<Self> {
        let cannot = || format!("cannot make a directory in '{}'", within.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat(CWD, within, flags, Mode::empty()).with_context(cannot)?;
        remove_stale(&parent);
        let pid = rustix::process::getpid();
        for number in 0.. {
            let name = format!("{PREFIX}{id}-{pid}-{number}");
            match mkdirat(&parent, &name, Mode::RWXU) {
                Err(Errno::EXIST) => continue,
                made => made.map_err(io::Error::from).with_context(cannot)?,
            }
            if let Some(dir) = take(&parent, &name).with_context(cannot)? {
                let dir_mode = dir_mode(&dir).with_context(cannot)?;
                return Ok(Self {
                    parent,
                    path: within.join(&name),
                    name,
                    dir: Beneath::new(dir),
                    dir_mode,
                });
            }
        }
        anyhow::bail!(cannot())
    }

    /// From here on it may hold what is being replaced: a kill leaves it where it is.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn will_hold_replaced(&self) -> io::Result<()> {
        Ok(mkdirat(self.dir.root(), REPLACED, Mode::RWXU)?)
    }

    /// Makes the directory of what is restored where the archive had nothing for it.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn make_tree(&self) -> io::Result<()> {
        match mkdirat(self.dir.root(), TREE, Mode::from_raw_mode(self.dir_mode)) {
            Err(Errno::EXIST) => Ok(()),
            made => Ok(made?),
        }
    }

    /// Writes all that it holds to the disk.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(self.dir.root())
            .map_err(io::Error::from)
            .with_context(|| format!("cannot sync '{}'", self.path.display()))
    }

    /// The directory that it is in.
    pub(crate) fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let removed = empty_dir(self.dir.root())
            .and_then(|()| Ok(unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR)?));
        if let Err(error) = removed {
            let path = self.path.display();
            PROGRAM.warn(&format!("cannot remove '{path}': {error}"));
        }
    }
}

/// Opens and locks what was just made; `None` where somebody took it for one of the dead.
fn take(parent: &OwnedFd, name: &str) -> io::Result<Option<OwnedFd>> {
    let dir = match openat(parent, name, DIR_FLAGS, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        dir => dir?,
    };
    if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(None);
    }
    let stat = fstat(&dir)?;
    if stat.st_nlink == 0 {
        return Ok(None);
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("something else came in its place"));
    }
    // An ACL of the directory above would be inherited by all that is restored.
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        let _ = fremovexattr(&dir, name);
    }
    fchmod(&dir, Mode::RWXU)?;
    Ok(Some(dir))
}

/// By the umask, which cannot be asked for without setting it.
fn dir_mode(dir: &OwnedFd) -> io::Result<u32> {
    mkdirat(dir, TREE, Mode::RWXU | Mode::RWXG | Mode::RWXO)?;
    let stat = statat(dir, TREE, AtFlags::SYMLINK_NOFOLLOW)?;
    unlinkat(dir, TREE, AtFlags::REMOVEDIR)?;
    Ok(stat.st_mode & 0o777)
}

/// Best effort: what cannot be told or removed stays.
fn remove_stale(parent: &OwnedFd) {
    for name in names_in(parent).unwrap_or_default() {
        if name.starts_with(PREFIX.as_bytes()) {
            let _ = remove_dead(parent, &name);
        }
    }
}

fn remove_dead(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let dir = openat(parent, name, DIR_FLAGS, Mode::empty())?;
    flock(&dir, FlockOperation::NonBlockingLockExclusive)?;
    let is_own = fstat(&dir)?.st_uid == rustix::process::geteuid().as_raw();
    let holds_replaced = statat(&dir, REPLACED, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if is_own && !holds_replaced {
        empty_dir(&dir)?;
        unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}
