//! Resolves the path of a target, and finds out whether it can be renamed.
//!
//! Changes nothing. Knows no archive.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bk_archive::restore::remove::names_in;
use bk_archive::restore::rename::open_dir;
use bk_archive::restore::stage::is_stage;
use rustix::fs::{
    Access, AtFlags, CWD, Mode, OFlags, ResolveFlags, accessat, openat, openat2, statfs, statvfs,
};
use rustix::io::Errno;

const OVERLAY_MAGIC: u64 = 0x794c_7630;
/// The limit of most file systems, assumed where one reports none.
const NAME_MAX_BYTES: usize = 255;

/// A target, resolved.
pub(crate) struct Located {
    /// Absolute, with symbolic links resolved.
    pub(crate) path: PathBuf,
    pub(crate) is_there: bool,
    /// Missing directories above it, the topmost first.
    pub(crate) missing_parents: Vec<PathBuf>,
}

/// Resolves a path. A symbolic link to a directory is followed: the user named it.
///
/// # Errors
/// A parent directory that does not exist.
pub(crate) fn locate(path: &Path, makes_parents: bool) -> Result<Located> {
    let cannot = || format!("cannot restore to '{}'", path.display());
    if path.is_dir() {
        return Ok(Located {
            path: path.canonicalize().with_context(cannot)?,
            is_there: true,
            missing_parents: Vec::new(),
        });
    }
    let absolute = std::path::absolute(path).with_context(cannot)?;
    let absolute: PathBuf = absolute.components().collect();
    let name = absolute.file_name().with_context(cannot)?;
    let mut parent = absolute.parent().unwrap_or(Path::new("/"));
    let mut names = Vec::new();
    while makes_parents && is_missing(parent) {
        names.push(parent.file_name().with_context(cannot)?);
        parent = parent.parent().with_context(cannot)?;
    }
    let mut above = parent.canonicalize().with_context(|| {
        let parent = parent.display();
        format!("{}: '{parent}'", cannot())
    })?;
    let mut missing_parents = Vec::new();
    for name in names.into_iter().rev() {
        above.push(name);
        missing_parents.push(above.clone());
    }
    let place = above.join(name);
    Ok(Located {
        is_there: place.symlink_metadata().is_ok(),
        path: place,
        missing_parents,
    })
}

/// What is below a file (ENOTDIR) is not missing: no directory can be made there.
fn is_missing(path: &Path) -> bool {
    let found = path.symlink_metadata();
    found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// # Errors
/// A directory that holds more than stages.
pub(crate) fn check_empty(dir: &Path) -> Result<()> {
    let names = open_dir(dir).and_then(names_in);
    let names = names.with_context(|| format!("cannot read '{}'", dir.display()))?;
    ensure!(
        names.iter().all(|name| is_stage(name)),
        "'{}' is not empty: name an empty or a new directory, or give --into-existing or --swap",
        dir.display()
    );
    Ok(())
}

/// Why a target cannot be renamed, as far as that can be seen.
pub(crate) fn hindrance(path: &Path, parent: &Path) -> Option<&'static str> {
    if is_mount_point(path, parent) {
        Some("it is a mount point")
    } else if !is_writable(parent) {
        Some("its directory is not writable for this user")
    } else if is_held_by_sticky(path, parent) {
        Some("it is another user's, in a directory with the sticky bit")
    } else {
        None
    }
}

/// Whether it is the working directory, which the shell most likely shares.
pub(crate) fn is_here(dir: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|it| (it.dev(), it.ino())).ok();
    id(dir) == id(Path::new("."))
}

pub(crate) fn is_writable(dir: &Path) -> bool {
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    accessat(CWD, dir, wanted, AtFlags::EACCESS).is_ok()
}

fn is_held_by_sticky(path: &Path, parent: &Path) -> bool {
    let own = rustix::process::geteuid();
    let uids = parent.metadata().and_then(|parent| {
        let is_sticky = parent.mode() & 0o1000 != 0;
        Ok((is_sticky, parent.uid(), path.symlink_metadata()?.uid()))
    });
    let is_held =
        |(is_sticky, parent, child)| is_sticky && ![parent, child].contains(&own.as_raw());
    !own.is_root() && uids.is_ok_and(is_held)
}

/// Whether something is mounted there, or another file system begins there.
pub(crate) fn is_mount_point(path: &Path, parent: &Path) -> bool {
    let device = |path: &Path| path.symlink_metadata().map(|it| it.dev()).ok();
    let name = path.file_name().unwrap_or(OsStr::new("."));
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let crossed = openat(CWD, parent, flags | OFlags::DIRECTORY, Mode::empty()).and_then(|dir| {
        let flags = flags | OFlags::NOFOLLOW;
        openat2(dir, name, flags, Mode::empty(), ResolveFlags::NO_XDEV).map(|_| ())
    });
    // On some overlays the files of each layer have a device of their own.
    let is_other = path.is_dir() && device(path) != device(parent);
    is_other || crossed == Err(Errno::XDEV)
}

/// Whether directories may be in a lower layer, which cannot be renamed.
pub(crate) fn is_on_overlay(dir: &Path) -> bool {
    let magic = statfs(dir).map(|stat| u64::try_from(stat.f_type).unwrap_or_default());
    magic == Ok(OVERLAY_MAGIC)
}

/// The longest name in a directory.
pub(crate) fn name_max_bytes(dir: &Path) -> usize {
    let reported = statvfs(dir)
        .ok()
        .and_then(|stat| usize::try_from(stat.f_namemax).ok());
    reported
        .filter(|bytes| *bytes > 0)
        .unwrap_or(NAME_MAX_BYTES)
}
