//! Where something is restored to, and how it gets there from its stage: as a whole, by one
//! rename or one exchange, wherever that can be; else name by name, undone where one fails.
//!
//! Knows no archive.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bk_archive::beneath::Beneath;
use bk_archive::remove::{names_in, open_own};
use bk_schema::home::Home;
use rustix::fs::{
    Access, AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Uid, accessat,
    fchmod, fchown, fstat, fsync, openat, openat2, renameat, renameat_with, statat,
};
use rustix::io::Errno;

use crate::flags::Existing;
use crate::merge::Merge;
use crate::stage::{Stage, TREE};

/// A place to restore to.
#[derive(Debug)]
pub(crate) struct Target {
    /// Absolute, without links on the way.
    pub(crate) path: PathBuf,
    name: OsString,
    how: How,
    /// In which the stage is made.
    pub(crate) stage_dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Nothing is there.
    Fresh,
    /// An empty directory is.
    Over,
    /// Something is, which is kept.
    Exchange,
    /// A directory is, which cannot or must not be replaced.
    Into { overwrite: bool },
}

/// Something that is in its place.
#[derive(Debug)]
pub(crate) struct Placed {
    target: PathBuf,
    /// Where what was there before is now.
    pub(crate) kept: Option<PathBuf>,
    is_fresh: bool,
}

impl Target {
    /// A directory that the user named.
    ///
    /// # Errors
    /// What cannot be restored to, and why.
    pub(crate) fn directory(dir: &Path, existing: Existing, home: &Home) -> Result<Self> {
        let (path, is_there) = locate(dir)?;
        let name = path.file_name().map(OsStr::to_owned);
        let Some(name) = name.filter(|_| is_there || !path.is_dir()) else {
            ensure!(path.is_dir(), "'{}' is no directory", path.display());
            return Self::within(path, OsString::new(), existing);
        };
        let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
        let how = match existing {
            _ if !is_there => How::Fresh,
            _ if !path.is_dir() => bail!("'{}' is no directory", path.display()),
            Existing::Swap => {
                check_own(&path, home)?;
                How::Exchange
            }
            Existing::Into { .. } => return Self::within(path, name, existing),
            Existing::Empty => {
                check_empty(&path)?;
                if !can_replace(&path, &parent) {
                    return Self::within(path, name, existing);
                }
                How::Over
            }
        };
        Ok(Self {
            stage_dir: parent,
            path,
            name,
            how,
        })
    }

    /// A directory that stays the one that it is.
    fn within(path: PathBuf, name: OsString, existing: Existing) -> Result<Self> {
        let overwrite = match existing {
            Existing::Into { overwrite } => overwrite,
            Existing::Swap => bail!("'{}' cannot be exchanged", path.display()),
            Existing::Empty => {
                check_empty(&path)?;
                false
            }
        };
        let parent = path.parent().unwrap_or(&path);
        let is_beside = !name.is_empty() && is_writable(parent) && !is_mount_point(&path, parent);
        let stage_dir = if is_beside { parent } else { &path }.to_owned();
        Ok(Self {
            stage_dir,
            path,
            name,
            how: How::Into { overwrite },
        })
    }

    /// Where a backup was taken from.
    ///
    /// # Errors
    /// What cannot be restored to, and why.
    pub(crate) fn source(source: &Path, home: &Home) -> Result<Self> {
        let (path, is_there) = locate(source)?;
        let name = path.file_name().map(OsStr::to_owned);
        let name = name.with_context(|| format!("'{}' cannot be exchanged", path.display()))?;
        let how = if is_there {
            check_own(&path, home)?;
            How::Exchange
        } else {
            How::Fresh
        };
        Ok(Self {
            stage_dir: path.parent().unwrap_or(Path::new("/")).to_owned(),
            path,
            name,
            how,
        })
    }

    /// Asks before the work what would fail after it.
    ///
    /// # Errors
    /// Something in the way of what is to be kept.
    pub(crate) fn check(&self, id: i64) -> Result<()> {
        let kept = self.kept(id);
        ensure!(
            self.how != How::Exchange || kept.symlink_metadata().is_err(),
            "'{}' is there already, from an earlier exchange: remove or rename it",
            kept.display()
        );
        Ok(())
    }

    fn kept(&self, id: i64) -> PathBuf {
        let mut name = self.name.clone();
        name.push(format!(".before-{id}"));
        self.path.with_file_name(name)
    }

    /// What the archive does not tell of the first directory is as it was.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn take_over(&self, stage: &Stage) -> Result<()> {
        if !matches!(self.how, How::Over | How::Exchange) {
            return Ok(());
        }
        let old = self.path.symlink_metadata()?;
        let new = openat(stage.dir.root(), TREE, DIR_FLAGS, Mode::empty())?;
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = (Uid::from_raw(old.uid()), Gid::from_raw(old.gid()));
            fchown(&new, Some(uid), Some(gid))?;
        }
        fchmod(&new, Mode::from_raw_mode(old.mode() & 0o7777))?;
        Ok(())
    }

    /// Moves what the stage holds to its place.
    ///
    /// # Errors
    /// Those of the file system; everything is as it was then.
    pub(crate) fn place(&self, stage: &Stage, id: i64) -> Result<Placed> {
        let cannot = || format!("cannot move what was restored to '{}'", self.path.display());
        let kept = self.kept(id);
        match self.how {
            How::Fresh => rename_new(stage, &self.name, true).with_context(cannot)?,
            How::Over => rename_new(stage, &self.name, false).with_context(cannot)?,
            How::Exchange => {
                let kept_name = kept.file_name().unwrap_or_default();
                rename_new(stage, kept_name, true).with_context(cannot)?;
                if let Err(error) = exchange(stage, kept_name, &self.name) {
                    let _ = renameat(stage.parent(), kept_name, stage.dir.root(), TREE);
                    return Err(error).with_context(cannot);
                }
            }
            How::Into { overwrite } => {
                let dir = openat(CWD, &self.path, DIR_FLAGS, Mode::empty()).with_context(cannot)?;
                Merge::plan(stage, Beneath::new(dir), overwrite)?.run()?;
            }
        }
        let _ = fsync(stage.parent());
        Ok(Placed {
            target: self.path.clone(),
            kept: (self.how == How::Exchange).then_some(kept),
            is_fresh: self.how == How::Fresh,
        })
    }
}

impl Placed {
    /// Puts everything back where it was.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn undo(&self, stage: &Stage) -> io::Result<()> {
        let name = self.target.file_name().unwrap_or_default();
        if let Some(kept) = &self.kept {
            let kept = kept.file_name().unwrap_or_default();
            exchange(stage, kept, name)?;
            renameat(stage.parent(), kept, stage.dir.root(), TREE)?;
        } else if self.is_fresh {
            renameat(stage.parent(), name, stage.dir.root(), TREE)?;
        }
        Ok(())
    }
}

const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The place without links on the way, and whether something is there. A link to a directory
/// is followed: the user named it.
fn locate(path: &Path) -> Result<(PathBuf, bool)> {
    let cannot = || format!("cannot restore to '{}'", path.display());
    if path.is_dir() {
        return Ok((path.canonicalize().with_context(cannot)?, true));
    }
    let absolute = std::path::absolute(path).with_context(cannot)?;
    let absolute: PathBuf = absolute.components().collect();
    let name = absolute.file_name().with_context(cannot)?;
    let parent = absolute.parent().unwrap_or(Path::new("/"));
    let parent = parent.canonicalize().with_context(|| {
        let parent = parent.display();
        format!("{}: '{parent}'", cannot())
    })?;
    let place = parent.join(name);
    let is_there = place.symlink_metadata().is_ok();
    Ok((place, is_there))
}

fn check_empty(dir: &Path) -> Result<()> {
    let opened = openat(CWD, dir, DIR_FLAGS, Mode::empty());
    let names = opened.map_err(io::Error::from).and_then(names_in);
    let names = names.with_context(|| format!("cannot read '{}'", dir.display()))?;
    let is_stage = |name: &Vec<u8>| name.starts_with(b".bk-restore-");
    ensure!(
        names.iter().all(is_stage),
        "'{}' is not empty: name an empty or a new directory, or give --into-existing or --swap",
        dir.display()
    );
    Ok(())
}

/// Exchanged, the catalog would be gone.
fn check_own(path: &Path, home: &Home) -> Result<()> {
    let own = home.dir.canonicalize().unwrap_or(home.dir.clone());
    ensure!(
        !own.starts_with(path) && !path.starts_with(&own),
        "'{}' cannot be exchanged: bk's own home is '{}'",
        path.display(),
        own.display()
    );
    Ok(())
}

/// Whether an empty directory can be replaced by another. Not so where we stand, as the shell
/// that started us most likely stands there too.
fn can_replace(dir: &Path, parent: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|it| (it.dev(), it.ino())).ok();
    id(dir) != id(Path::new(".")) && is_writable(parent) && !is_mount_point(dir, parent)
}

fn is_writable(dir: &Path) -> bool {
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    accessat(CWD, dir, wanted, AtFlags::EACCESS).is_ok()
}

fn is_mount_point(dir: &Path, parent: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|it| it.dev()).ok();
    let name = dir.file_name().unwrap_or_default();
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let crossed = openat(CWD, parent, flags | OFlags::DIRECTORY, Mode::empty())
        .and_then(|it| openat2(it, name, flags, Mode::empty(), ResolveFlags::NO_XDEV).map(|_| ()));
    device(dir) != device(parent) || crossed == Err(Errno::XDEV)
}

/// Gives what was restored a name beside the stage.
fn rename_new(stage: &Stage, name: &OsStr, is_new: bool) -> io::Result<()> {
    let (from, to) = (stage.dir.root(), stage.parent());
    let rename = || {
        if !is_new {
            return renameat(from, TREE, to, name);
        }
        match renameat_with(from, TREE, to, name, RenameFlags::NOREPLACE) {
            // Not every file system can do it.
            Err(Errno::INVAL | Errno::NOSYS) => match statat(to, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => renameat(from, TREE, to, name),
                _ => Err(Errno::EXIST),
            },
            renamed => renamed,
        }
    };
    with_own(from, TREE.as_bytes(), rename)
}

fn exchange(stage: &Stage, one: &OsStr, other: &OsStr) -> io::Result<()> {
    let dir = stage.parent();
    Ok(renameat_with(dir, one, dir, other, RenameFlags::EXCHANGE)?)
}

/// Moves a directory that its owner may not write to: for the time of the move he may.
pub(crate) fn with_own(
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
