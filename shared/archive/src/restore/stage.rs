//! The stage: a fresh directory beside the target, into which the archive is extracted first.
//!
//! It is private and locked as long as this process lives, and removed when it is dropped; what a
//! killed process left is removed by the next one that makes a stage there. Knows no target.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fchmod,
    flock, fremovexattr, fstat, futimens, mkdirat, openat, statat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};

use crate::restore::beneath::{Beneath, DIR_FLAGS};
use crate::restore::remove::{empty_dir, names_in};
use crate::restore::rename::opened_up;

/// The name of what is restored, in the stage.
pub const TREE: &str = "new";
/// The directory of what is being replaced, in the stage: a stage with it is not removed by others.
const REPLACED: &str = "replaced";
const PREFIX: &str = ".bk-restore-";

/// Tells people a text, in the name of a program.
pub type Warn = fn(&str);

/// A fresh directory.
#[derive(Debug)]
pub struct Stage {
    parent: OwnedFd,
    /// Its name in the directory that it is in.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The directory itself.
    pub dir: Beneath,
    /// The mode of new directories by the umask of this process.
    pub dir_mode: u32,
    /// Whether it holds what could not be moved back.
    is_kept: Cell<bool>,
    warn: Warn,
    /// Dropped after it.
    pub made_parents: MadeParents,
}

/// Directories that were made above a target; removed at the end where they are empty.
#[derive(Debug, Default)]
pub struct MadeParents(
    /// The topmost first.
    pub Vec<PathBuf>,
);

impl Drop for MadeParents {
    fn drop(&mut self) {
        for dir in self.0.iter().rev() {
            // An error means that it is in use, as it should be.
            let _ = std::fs::remove_dir(dir);
        }
    }
}

impl Stage {
    /// Makes a stage in a directory; `id` is that of the backup.
    ///
    /// # Errors
    /// A directory that cannot be written to; nothing stays there.
    pub fn make(within: &Path, id: i64, warn: Warn) -> Result<Self> {
        let cannot = || format!("cannot make a directory in '{}'", within.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat(CWD, within, flags, Mode::empty()).with_context(cannot)?;
        remove_stale(&parent, within, warn);
        let pid = rustix::process::getpid();
        for number in 0.. {
            let name = format!("{PREFIX}{id}-{pid}-{number}");
            let make = || -> io::Result<bool> {
                match mkdirat(&parent, &name, Mode::RWXU) {
                    Err(Errno::EXIST) => Ok(false),
                    made => Ok(made.map(|()| true)?),
                }
            };
            if !opened_up(&parent, make).with_context(cannot)? {
                continue;
            }
            let taken = take(&parent, &name).inspect_err(|_| {
                // The first error is the one to report.
                let _ = unlinkat(&parent, &name, AtFlags::REMOVEDIR);
            });
            if let Some((dir, dir_mode)) = taken.with_context(cannot)? {
                return Ok(Self {
                    parent,
                    path: within.join(&name),
                    name,
                    dir: Beneath::new(dir),
                    dir_mode,
                    is_kept: Cell::new(false),
                    warn,
                    made_parents: MadeParents::default(),
                });
            }
        }
        anyhow::bail!(cannot())
    }

    /// Makes the directory for what is being replaced. From here on a killed process leaves the
    /// stage behind.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub fn hold_replaced(&self) -> io::Result<OwnedFd> {
        mkdirat(self.dir.root(), REPLACED, Mode::RWXU)?;
        Ok(openat(self.dir.root(), REPLACED, DIR_FLAGS, Mode::empty())?)
    }

    /// Keeps the stage: what was being replaced could not be moved back.
    pub fn keep(&self) {
        self.is_kept.set(true);
    }

    /// Makes the directory of what is restored, where the archive had no entry for it.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub fn make_tree(&self) -> io::Result<()> {
        match mkdirat(self.dir.root(), TREE, Mode::from_raw_mode(self.dir_mode)) {
            Err(Errno::EXIST) => Ok(()),
            made => Ok(made?),
        }
    }

    /// Syncs all that it holds.
    ///
    /// # Errors
    /// Those of syncfs(2).
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(self.dir.root())
            .map_err(io::Error::from)
            .with_context(|| format!("cannot sync '{}'", self.path.display()))
    }

    /// The directory of the stage.
    #[must_use]
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }
}

/// The path of an entry below the stage.
#[must_use]
pub fn in_tree(name: &[u8]) -> Vec<u8> {
    match name {
        [] => TREE.as_bytes().to_owned(),
        name => [TREE.as_bytes(), b"/", name].concat(),
    }
}

/// Whether this is the name of a stage.
#[must_use]
pub fn is_stage(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

impl Drop for Stage {
    fn drop(&mut self) {
        let path = self.path.display();
        if self.is_kept.get() {
            return (self.warn)(&format!(
                "warning: '{path}' holds what was being replaced and could not be moved back: check it, then remove it"
            ));
        }
        let before = fstat(&self.parent);
        let remove =
            || -> io::Result<()> { Ok(unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR)?) };
        let removed = empty_dir(self.dir.root()).and_then(|()| opened_up(&self.parent, remove));
        if let Ok(before) = before {
            // Restores the time, which may come from the archive. Best effort.
            let _ = futimens(&self.parent, &modified(&before));
        }
        if let Err(error) = removed {
            (self.warn)(&format!("cannot remove '{path}': {error}"));
        }
    }
}

fn modified(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec.cast_signed(),
        },
    }
}

/// Opens and locks a new stage, and finds the mode of new directories; `None` where another process
/// has taken it for an abandoned one.
fn take(parent: &OwnedFd, name: &str) -> io::Result<Option<(OwnedFd, u32)>> {
    let dir = match openat(parent, name, DIR_FLAGS, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        dir => dir?,
    };
    match lock(&dir) {
        Ok(false) => return Ok(None),
        // Where nothing can be locked, no other process takes it for abandoned either.
        Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK | Errno::INVAL) => {}
        locked => drop(locked?),
    }
    let stat = fstat(&dir)?;
    if stat.st_nlink == 0 {
        return Ok(None);
    }
    if !is_own(parent, &stat)? {
        return Err(io::Error::other("something else took its place"));
    }
    if stat.st_mode & 0o7777 != 0o700 {
        match fchmod(&dir, Mode::RWXU) {
            // Such a file system sets all modes itself.
            Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            given => given?,
        }
    }
    // All that is restored would inherit the ACL of the parent directory.
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        // In most cases there is none.
        let _ = fremovexattr(&dir, name);
    }
    let mode = dir_mode(&dir)?;
    Ok(Some((dir, mode)))
}

/// Whether the lock could be taken for this process alone.
fn lock(dir: &OwnedFd) -> rustix::io::Result<bool> {
    match retry_on_intr(|| flock(dir, FlockOperation::NonBlockingLockExclusive)) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        locked => locked.map(|()| true),
    }
}

/// Whether it is this user's; some file systems give all files to one user.
fn is_own(parent: &OwnedFd, stat: &Stat) -> io::Result<bool> {
    let is_mine = stat.st_uid == rustix::process::geteuid().as_raw();
    Ok(is_mine || stat.st_uid == fstat(parent)?.st_uid)
}

/// The mode of new directories. The umask cannot be read without setting it.
fn dir_mode(dir: &OwnedFd) -> io::Result<u32> {
    mkdirat(dir, TREE, Mode::RWXU | Mode::RWXG | Mode::RWXO)?;
    let stat = statat(dir, TREE, AtFlags::SYMLINK_NOFOLLOW)?;
    unlinkat(dir, TREE, AtFlags::REMOVEDIR)?;
    Ok(stat.st_mode & 0o777)
}

/// Removes what killed processes left in a directory, as far as possible.
pub fn sweep(dir: &Path, warn: Warn) {
    if let Ok(opened) = openat(CWD, dir, DIR_FLAGS, Mode::empty()) {
        remove_stale(&opened, dir, warn);
    }
}

fn remove_stale(parent: &OwnedFd, path: &Path, warn: Warn) {
    for name in names_in(parent).unwrap_or_default() {
        if is_stage(&name) && remove_abandoned(parent, &name).is_ok_and(|gone| !gone) {
            let path = path.join(OsStr::from_bytes(&name));
            warn(&format!(
                "warning: '{}' holds what an interrupted restoration was replacing: check it, then remove it",
                path.display()
            ));
        }
    }
}

/// Removes the stage of a killed process; `false` where it holds what was being replaced.
fn remove_abandoned(parent: &OwnedFd, name: &[u8]) -> io::Result<bool> {
    let dir = openat(parent, name, DIR_FLAGS, Mode::empty())?;
    if !lock(&dir)? {
        return Err(Errno::WOULDBLOCK.into());
    }
    if !is_own(parent, &fstat(&dir)?)? {
        return Err(Errno::PERM.into());
    }
    if statat(&dir, REPLACED, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Ok(false);
    }
    empty_dir(&dir)?;
    opened_up(parent, || Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?))?;
    Ok(true)
}
