//! Where something is restored to, and how it gets there from its stage: as a whole, by one
//! rename or one exchange, wherever that can be; else name by name, undone where one fails.
//!
//! The way is decided by one look, before anything is unpacked. Knows no archive.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bk_archive::restore::attributes::Skipped;
use bk_archive::restore::beneath::Beneath;
use jiff::Timestamp;
use rustix::fs::{Gid, Mode, RenameFlags, Uid, fchmod, fchown, openat, renameat, renameat_with};
use rustix::io::Errno;

use crate::fill::Fill;
use crate::flags::Existing;
use crate::merge::{Merge, Rules};
use crate::place::{
    Located, check_empty, hindrance, is_here, is_mount_point, is_on_overlay, is_writable, locate,
    name_max_bytes,
};
use crate::rename::{DIR_FLAGS, move_new, move_over, open_dir, sync};
use crate::stage::{Stage, TREE, sweep};

/// A place to restore to.
#[derive(Debug)]
pub(crate) struct Target {
    /// Absolute, without links on the way.
    pub(crate) path: PathBuf,
    name: OsString,
    how: How,
    /// In which the stage is made.
    pub(crate) stage_dir: PathBuf,
    /// Directories above it that are to be made.
    gone: Vec<PathBuf>,
    /// Where what is there goes, if it goes.
    kept: Option<PathBuf>,
    /// Why it is not simply exchanged.
    pub(crate) note: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Nothing is there.
    Fresh,
    /// An empty directory is.
    Over,
    /// Something is, which is kept.
    Exchange,
    /// A directory is, which is kept but for its name.
    Fill,
    /// A directory is, which cannot or must not be replaced.
    Into(Rules),
}

/// Something that is in its place.
pub(crate) struct Placed<'a> {
    target: &'a Target,
    stage: &'a Stage,
    by: By<'a>,
}

enum By<'a> {
    Rename,
    Exchange,
    Fill(Fill),
    Merge(Merge<'a>),
}

impl Target {
    /// A directory that the user named, for a backup, by a process that began then.
    ///
    /// # Errors
    /// What cannot be restored to, and why.
    pub(crate) fn directory(
        dir: &Path,
        existing: Existing,
        id: i64,
        began: Timestamp,
    ) -> Result<Self> {
        let located = locate(dir, false)?;
        if !located.is_there {
            return Self::fresh(located);
        }
        let path = located.path;
        ensure!(path.is_dir(), "'{}' is no directory", path.display());
        let rules = |overwrite, gives_attributes| Rules {
            overwrite,
            gives_attributes,
            began,
        };
        match existing {
            Existing::Swap => Self::exchanged(path, id),
            Existing::Into { overwrite } => Ok(Self::into(path, rules(overwrite, overwrite))),
            Existing::Empty => {
                check_empty(&path)?;
                let parent = path.parent().unwrap_or(&path);
                let is_named = path.file_name().is_some() && hindrance(&path, parent).is_none();
                if is_named && !is_here(&path) && !is_on_overlay(parent) {
                    return Ok(Self::new(path, How::Over));
                }
                Ok(Self::into(path, rules(false, true)))
            }
        }
    }

    /// Where a backup was taken from.
    ///
    /// # Errors
    /// What cannot be restored to, and why.
    pub(crate) fn source(source: &Path, id: i64) -> Result<Self> {
        let located = locate(source, true)?;
        if !located.is_there {
            return Self::fresh(located);
        }
        Self::exchanged(located.path, id)
    }

    /// A directory that stays the one that it is, and gets what is new.
    pub(crate) fn into(path: PathBuf, rules: Rules) -> Self {
        let parent = path.parent().unwrap_or(&path);
        let is_beside =
            path.file_name().is_some() && is_writable(parent) && !is_mount_point(&path, parent);
        let stage_dir = if is_beside { parent } else { &path }.to_owned();
        Self {
            stage_dir,
            ..Self::new(path, How::Into(rules))
        }
    }

    fn new(path: PathBuf, how: How) -> Self {
        Self {
            name: path.file_name().unwrap_or_default().to_owned(),
            stage_dir: path.parent().unwrap_or(&path).to_owned(),
            path,
            how,
            gone: Vec::new(),
            kept: None,
            note: None,
        }
    }

    fn fresh(located: Located) -> Result<Self> {
        let target = Self::new(located.path, How::Fresh);
        ensure!(
            !target.name.is_empty(),
            "'{}' is no directory",
            target.path.display()
        );
        Ok(Self {
            gone: located.gone,
            ..target
        })
    }

    /// By one exchange where its name can be given to something else; else a directory is filled
    /// where it is.
    fn exchanged(path: PathBuf, id: i64) -> Result<Self> {
        let parent = path.parent().unwrap_or(&path);
        let mut note = hindrance(&path, parent);
        if path.file_name().is_none() {
            note = Some("it is the root of all");
        } else if note.is_none() && path.is_dir() && is_on_overlay(parent) {
            note = layer_below(&path, parent, id)?;
        }
        let target = match note {
            None => {
                let kept = parent.join(kept_name(&path, parent, id));
                Self {
                    kept: Some(kept),
                    ..Self::new(path, How::Exchange)
                }
            }
            Some(why) if !path.is_dir() => bail!(
                "'{}' cannot be exchanged, as {why}: 'bk-restore --stdout' prints what is to be in it",
                path.display()
            ),
            Some(_) => Self {
                kept: Some(path.join(format!(".before-{id}"))),
                stage_dir: path.clone(),
                note,
                ..Self::new(path, How::Fill)
            },
        };
        target.check()?;
        Ok(target)
    }

    /// What may become of what is there, where it stays.
    pub(crate) fn rules(&self) -> Option<Rules> {
        match self.how {
            How::Into(rules) => Some(rules),
            _ => None,
        }
    }

    /// Where what is there goes, if it goes.
    pub(crate) fn kept(&self) -> Option<&Path> {
        self.kept.as_deref()
    }

    /// Asks before the work what would fail after it.
    fn check(&self) -> Result<()> {
        if let Some(kept) = &self.kept {
            ensure!(
                kept.symlink_metadata().is_err(),
                "'{}' is there already, from an earlier exchange: remove or rename it",
                kept.display()
            );
        }
        Ok(())
    }

    /// Makes the stage, and the directories above it that are gone; removes what dead processes
    /// left there.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn stage(&self, id: i64) -> Result<(MadeParents, Stage)> {
        let mut made = MadeParents(Vec::new());
        for dir in &self.gone {
            match std::fs::create_dir(dir) {
                // Another target has made it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => {
                    result.with_context(|| format!("cannot make '{}'", dir.display()))?;
                    made.0.push(dir.clone());
                }
            }
        }
        if self.stage_dir != self.path && self.path.is_dir() {
            sweep(&self.path);
        }
        Ok((made, Stage::make(&self.stage_dir, id)?))
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
            // Where it cannot be given, it is the one that the file system gives to all.
            let _ = fchown(&new, Some(uid), Some(gid));
        }
        match fchmod(&new, Mode::from_raw_mode(old.mode() & 0o7777)) {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            given => given?,
        }
        Ok(())
    }

    /// Moves what the stage holds to its place. `is_told` is whether the archive tells of a
    /// directory of it.
    ///
    /// # Errors
    /// Those of the file system; everything is as it was then.
    pub(crate) fn place<'a>(
        &'a self,
        stage: &'a Stage,
        is_told: &'a dyn Fn(&[u8]) -> bool,
    ) -> Result<Placed<'a>> {
        let cannot = || format!("cannot move what was restored to '{}'", self.path.display());
        let new = stage.dir.root();
        let parent = stage.parent();
        let by = match self.how {
            How::Fresh => {
                move_new((&new, TREE.as_bytes()), (&parent, self.name.as_bytes()))
                    .with_context(cannot)?;
                By::Rename
            }
            How::Over => {
                move_over((&new, TREE.as_bytes()), (&parent, self.name.as_bytes()))
                    .with_context(cannot)?;
                By::Rename
            }
            How::Exchange => {
                exchange(stage, &self.name, self.kept_name()).with_context(cannot)?;
                By::Exchange
            }
            How::Fill => {
                let dir = open_dir(&self.path).with_context(cannot)?;
                let fill = Fill::run(dir, self.kept_name().as_bytes(), stage);
                By::Fill(fill.with_context(cannot)?)
            }
            How::Into(rules) => {
                let dir = open_dir(&self.path).with_context(cannot)?;
                let merge = Merge::plan(stage, Beneath::new(dir), &self.path, rules, is_told)?;
                By::Merge(merge.run()?)
            }
        };
        let mut placed = Placed {
            target: self,
            stage,
            by,
        };
        let synced = self.sync_above(stage);
        if let Err(error) = synced {
            placed.undo().with_context(|| {
                format!("cannot put '{}' back after: {error:#}", self.path.display())
            })?;
            return Err(error).with_context(cannot);
        }
        Ok(placed)
    }

    fn sync_above(&self, stage: &Stage) -> Result<()> {
        sync(stage.parent())?;
        for dir in self.gone.iter().filter_map(|dir| dir.parent()) {
            sync(open_dir(dir)?)?;
        }
        Ok(())
    }

    fn kept_name(&self) -> &OsStr {
        let name = self.kept.as_ref().and_then(|kept| kept.file_name());
        name.unwrap_or_default()
    }
}

impl<'a> Placed<'a> {
    /// Where what was there before is now.
    pub(crate) fn kept(&self) -> Option<&'a Path> {
        self.target.kept()
    }

    /// Gives directories that stay what the archive tells of them, now that all is in its place.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn finish(
        &self,
        has_root: bool,
        tell: &mut dyn FnMut(&[u8], Skipped),
    ) -> io::Result<()> {
        match &self.by {
            By::Rename | By::Exchange => Ok(()),
            By::Fill(fill) if has_root => {
                for one in fill.finish()? {
                    tell(b".", one);
                }
                Ok(())
            }
            By::Fill(_) => Ok(()),
            By::Merge(merge) => merge.finish(tell),
        }
    }

    /// Puts everything back where it was.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn undo(&mut self) -> io::Result<()> {
        let name = self.target.name.as_bytes();
        let (new, parent) = (self.stage.dir.root(), self.stage.parent());
        match &mut self.by {
            By::Rename if self.target.how == How::Fresh => {
                move_over((&parent, name), (&new, TREE.as_bytes()))
            }
            // The directory that was there was empty.
            By::Rename => Ok(()),
            By::Exchange => {
                let kept = self.target.kept_name().as_bytes();
                match renameat_with(parent, kept, parent, name, RenameFlags::EXCHANGE) {
                    Ok(()) => move_over((&parent, kept), (&new, TREE.as_bytes())),
                    Err(_) => {
                        move_over((&parent, name), (&new, TREE.as_bytes()))?;
                        move_new((&parent, kept), (&parent, name))
                    }
                }
            }
            By::Fill(fill) => fill.undo(),
            By::Merge(merge) => merge.undo(),
        }
    }
}

/// Directories that were made for a target; what is empty at the end goes again.
#[derive(Debug)]
pub(crate) struct MadeParents(Vec<PathBuf>);

impl Drop for MadeParents {
    fn drop(&mut self) {
        for dir in self.0.iter().rev() {
            // One that is not empty is in use, as it should be.
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// `NAME.before-ID`, of which NAME is cut where there is no room for it.
fn kept_name(path: &Path, parent: &Path, id: i64) -> OsString {
    let mut name = path.file_name().unwrap_or_default().as_bytes().to_vec();
    let ending = format!(".before-{id}");
    let mut room = name_max_bytes(parent).saturating_sub(ending.len());
    if name.len() > room {
        // Not in the middle of a character.
        while room > 0 && name[room] & 0xc0 == 0x80 {
            room -= 1;
        }
        name.truncate(room);
    }
    name.extend(ending.as_bytes());
    OsString::from_vec(name)
}

/// Asks an overlay whether it can rename a directory, by renaming it to one that is not empty,
/// which no file system replaces: the answer to a directory of a layer below is another one.
fn layer_below(path: &Path, parent: &Path, id: i64) -> Result<Option<&'static str>> {
    let probe = Stage::make(parent, id)?;
    probe.make_tree()?;
    let (dir, name) = (probe.parent(), path.file_name().unwrap_or_default());
    match renameat(dir, name, dir, &probe.name) {
        Err(Errno::XDEV) => Ok(Some("it is of a layer below, which cannot be renamed")),
        Err(_) => Ok(None),
        // It never comes to that; if it does, at once back.
        Ok(()) => Ok(renameat(dir, &probe.name, dir, name).map(|()| None)?),
    }
}

/// What was restored gets the name that is to be kept, and then exchanges it, so that a kill
/// leaves both of them. Where names cannot be exchanged, there is a moment without.
fn exchange(stage: &Stage, name: &OsStr, kept: &OsStr) -> io::Result<()> {
    let (new, parent) = (stage.dir.root(), stage.parent());
    let (name, kept) = (name.as_bytes(), kept.as_bytes());
    let tree = TREE.as_bytes();
    move_new((&new, tree), (&parent, kept))?;
    let Err(error) = renameat_with(parent, kept, parent, name, RenameFlags::EXCHANGE) else {
        return Ok(());
    };
    move_over((&parent, kept), (&new, tree))?;
    if !matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) {
        return Err(error.into());
    }
    move_new((&parent, name), (&parent, kept))?;
    move_new((&new, tree), (&parent, name)).inspect_err(|_| {
        // The first error is the one to tell.
        let _ = move_new((&parent, kept), (&parent, name));
    })
}
