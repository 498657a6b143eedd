//! Renames: without replacing, in exchange, and in directories that their owner may not write to.
//!
//! Where a file system lacks a call, the nearest replacement is used. Knows no stage.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, RenameFlags, fchmod, fstat, fsync, openat, renameat, renameat_with,
    statat, syncfs,
};
use rustix::io::Errno;

use crate::restore::beneath::DIR_FLAGS;
use crate::restore::remove::open_own;

/// A name in a directory.
pub type Place<'a, D> = (&'a D, &'a [u8]);

/// Renames without replacing.
///
/// # Errors
/// EEXIST where the name is taken.
pub fn move_new<A: AsFd, B: AsFd>(from: Place<'_, A>, to: Place<'_, B>) -> io::Result<()> {
    with_own(from.0, from.1, || {
        match renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
            Err(error) if lacks(error) => match statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => renameat(from.0, from.1, to.0, to.1),
                _ => Err(Errno::EXIST),
            },
            renamed => renamed,
        }
    })
}

/// Renames over an empty directory, or nothing.
///
/// # Errors
/// Those of rename(2).
pub fn move_over<A: AsFd, B: AsFd>(from: Place<'_, A>, to: Place<'_, B>) -> io::Result<()> {
    with_own(from.0, from.1, || renameat(from.0, from.1, to.0, to.1))
}

/// Renames `new` to `old`, and `old` to `aside`. Where the file system can exchange names, `old` is
/// never missing.
///
/// # Errors
/// A rename that fails; all is undone then, or `stuck` is called where that fails, too.
pub fn replace<A: AsFd, B: AsFd, C: AsFd>(
    new: Place<'_, A>,
    old: Place<'_, B>,
    aside: Place<'_, C>,
    stuck: &dyn Fn(),
) -> io::Result<()> {
    let undone = |error: io::Error, back: io::Result<()>| match back {
        Ok(()) => error,
        Err(other) => {
            stuck();
            io::Error::other(format!("{error}; and back: {other}"))
        }
    };
    let exchange = || renameat_with(new.0, new.1, old.0, old.1, RenameFlags::EXCHANGE);
    match with_own(new.0, new.1, exchange) {
        Ok(()) => {
            return move_new(new, aside)
                .map_err(|error| undone(error, exchange().map_err(io::Error::from)));
        }
        Err(error) if Errno::from_io_error(&error).is_some_and(lacks) => {}
        Err(error) => return Err(error),
    }
    move_new(old, aside)?;
    move_new(new, old).map_err(|error| undone(error, move_new(aside, old)))
}

fn lacks(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// Renames; a directory that its owner may not write to is made writable meanwhile.
fn with_own(
    dir: impl AsFd,
    name: &[u8],
    rename: impl Fn() -> rustix::io::Result<()>,
) -> io::Result<()> {
    match rename() {
        Err(Errno::ACCESS) => {}
        renamed => return Ok(renamed?),
    }
    let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::ACCESS.into());
    }
    let own: OwnedFd = open_own(&dir, name)?;
    let renamed = rename();
    if fstat(&own)?.st_mode != stat.st_mode {
        fchmod(&own, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    }
    Ok(renamed?)
}

/// Does something in a directory, which is made writable meanwhile where its owner may not write
/// to it.
///
/// # Errors
/// Those of the work.
pub fn opened_up<T>(dir: impl AsFd, work: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let refused = match work() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        done => return done,
    };
    let stat = fstat(&dir)?;
    let mode = stat.st_mode & 0o7777;
    if stat.st_uid != rustix::process::geteuid().as_raw() || mode & 0o300 == 0o300 {
        return Err(refused);
    }
    fchmod(&dir, Mode::from_raw_mode(mode | 0o300))?;
    let done = work();
    fchmod(&dir, Mode::from_raw_mode(mode))?;
    done
}

/// Syncs a directory.
///
/// # Errors
/// Those of fsync(2).
pub fn sync(dir: impl AsFd) -> io::Result<()> {
    match fsync(&dir) {
        // Some file systems sync no directory.
        Err(error) if lacks(error) => Ok(syncfs(&dir)?),
        synced => Ok(synced?),
    }
}

/// Opens a directory by its path, whose last part must not be a symbolic link.
///
/// # Errors
/// Those of open(2).
pub fn open_dir(path: &std::path::Path) -> io::Result<OwnedFd> {
    Ok(openat(rustix::fs::CWD, path, DIR_FLAGS, Mode::empty())?)
}
