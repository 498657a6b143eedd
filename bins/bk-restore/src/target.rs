//! A target, and how a stage is moved to it: by one rename or exchange where possible, else name
//! by name, which is undone where one fails.
//!
//! The way is decided before anything is extracted. Knows no archive.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bk_archive::restore::beneath::{Beneath, DIR_FLAGS};
use bk_archive::restore::extract::Observer;
use bk_archive::restore::rename::{move_new, move_over, open_dir, sync};
use bk_archive::restore::stage::{MadeParents, Stage, TREE, sweep};
use jiff::Timestamp;
use rustix::fs::{Gid, Mode, RenameFlags, Uid, fchmod, fchown, openat, renameat, renameat_with};
use rustix::io::Errno;

use crate::fill::Fill;
use crate::flags::{Existing, warn};
use crate::merge::{Merge, Rules};
use crate::place::{
    Located, check_empty, hindrance, is_here, is_mount_point, is_on_overlay, is_writable, locate,
    name_max_bytes,
};

/// A place to restore to.
#[derive(Debug)]
pub(crate) struct Target {
    /// Absolute, with symbolic links resolved.
    pub(crate) path: PathBuf,
    name: OsString,
    how: How,
    /// The directory of the stage.
    pub(crate) stage_dir: PathBuf,
    /// Missing directories above it, the topmost first.
    missing_parents: Vec<PathBuf>,
    /// Where the old content is kept, if it is replaced.
    pub(crate) kept: Option<PathBuf>,
    /// Why it cannot be exchanged.
    pub(crate) note: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Nothing is there: rename.
    Fresh,
    /// An empty directory: rename over it.
    Over,
    /// Something else: exchange, and keep it.
    Exchange,
    /// A directory that cannot be renamed: exchange and keep its content.
    Fill,
    /// A directory that stays: merge into it.
    Into(Rules),
}

/// A stage that was moved to its target.
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
    /// A directory that the user named. `id` is that of the backup, `began` the time at which this
    /// process began.
    ///
    /// # Errors
    /// A target that cannot be restored to.
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
        ensure!(path.is_dir(), "'{}' is not a directory", path.display());
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

    /// A source of the backup.
    ///
    /// # Errors
    /// A target that cannot be restored to.
    pub(crate) fn source(source: &Path, id: i64) -> Result<Self> {
        let located = locate(source, true)?;
        if !located.is_there {
            return Self::fresh(located);
        }
        Self::exchanged(located.path, id)
    }

    /// A directory that stays, and is merged into.
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
            missing_parents: Vec::new(),
            kept: None,
            note: None,
        }
    }

    fn fresh(located: Located) -> Result<Self> {
        let target = Self::new(located.path, How::Fresh);
        ensure!(
            !target.name.is_empty(),
            "'{}' is not a directory",
            target.path.display()
        );
        Ok(Self {
            missing_parents: located.missing_parents,
            ..target
        })
    }

    /// Exchanged as a whole where it can be renamed; else the content of a directory is.
    fn exchanged(path: PathBuf, id: i64) -> Result<Self> {
        let parent = path.parent().unwrap_or(&path);
        let mut note = hindrance(&path, parent);
        if path.file_name().is_none() {
            note = Some("it is the root directory");
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
                "'{}' cannot be exchanged, as {why}: 'bk-restore --stdout' prints its content",
                path.display()
            ),
            Some(_) => Self {
                kept: Some(path.join(format!(".before-{id}"))),
                stage_dir: path.clone(),
                note,
                ..Self::new(path, How::Fill)
            },
        };
        if let Some(kept) = &target.kept {
            ensure!(
                kept.symlink_metadata().is_err(),
                "'{}' is there already, from an earlier exchange: remove or rename it",
                kept.display()
            );
        }
        Ok(target)
    }

    /// The rules of the merge, if it is merged into.
    pub(crate) fn rules(&self) -> Option<Rules> {
        match self.how {
            How::Into(rules) => Some(rules),
            _ => None,
        }
    }

    /// Makes the stage, and missing directories above it; removes what killed processes left.
    pub(crate) fn stage(&self, id: i64) -> Result<Stage> {
        let mut made = MadeParents::default();
        for dir in &self.missing_parents {
            match std::fs::create_dir(dir) {
                // Made for another target.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => {
                    result.with_context(|| format!("cannot make '{}'", dir.display()))?;
                    made.0.push(dir.clone());
                }
            }
        }
        if self.stage_dir != self.path && self.path.is_dir() {
            sweep(&self.path, warn);
        }
        let mut stage = Stage::make(&self.stage_dir, id, warn)?;
        stage.made_parents = made;
        Ok(stage)
    }

    /// Gives the new directory the owner and mode of the old one, where the archive has no entry for
    /// it.
    pub(crate) fn copy_attributes(&self, stage: &Stage) -> Result<()> {
        if !matches!(self.how, How::Over | How::Exchange) {
            return Ok(());
        }
        let old = self.path.symlink_metadata()?;
        let new = openat(stage.dir.root(), TREE, DIR_FLAGS, Mode::empty())?;
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = (Uid::from_raw(old.uid()), Gid::from_raw(old.gid()));
            // Some file systems give all files one owner.
            let _ = fchown(&new, Some(uid), Some(gid));
        }
        match fchmod(&new, Mode::from_raw_mode(old.mode() & 0o7777)) {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            given => given?,
        }
        Ok(())
    }

    /// Moves what the stage holds to its place. `has_entry` says whether the archive has an entry
    /// for a directory.
    ///
    /// # Errors
    /// The first move that fails; the others are undone.
    pub(crate) fn place<'a>(
        &'a self,
        stage: &'a Stage,
        has_entry: &'a dyn Fn(&[u8]) -> bool,
    ) -> Result<Placed<'a>> {
        let cannot = || format!("cannot move what was restored to '{}'", self.path.display());
        let new = stage.dir.root();
        let parent = stage.parent();
        let (tree, place) = ((&new, TREE.as_bytes()), (&parent, self.name.as_bytes()));
        let by = match self.how {
            How::Fresh => {
                move_new(tree, place).with_context(cannot)?;
                By::Rename
            }
            How::Over => {
                move_over(tree, place).with_context(cannot)?;
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
                let merge = Merge::plan(stage, Beneath::new(dir), &self.path, rules, has_entry)?;
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
        for dir in self.missing_parents.iter().filter_map(|dir| dir.parent()) {
            sync(open_dir(dir)?)?;
        }
        Ok(())
    }

    fn kept_name(&self) -> &OsStr {
        let name = self.kept.as_ref().and_then(|kept| kept.file_name());
        name.unwrap_or_default()
    }
}

impl Placed<'_> {
    /// Restores the attributes of directories that stay, once all is in its place.
    pub(crate) fn finish(&self, has_root: bool, observer: &dyn Observer) -> io::Result<()> {
        match &self.by {
            By::Fill(fill) if has_root => observer.report(b".", fill.finish()?),
            By::Merge(merge) => merge.finish(observer)?,
            By::Rename | By::Exchange | By::Fill(_) => {}
        }
        Ok(())
    }

    /// Moves everything back.
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

/// `NAME.before-ID`, with NAME cut where that is too long.
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

/// Whether an overlay can rename a directory: tried by a rename over a directory that is not empty,
/// which always fails, but with EXDEV for a directory of a lower layer.
fn layer_below(path: &Path, parent: &Path, id: i64) -> Result<Option<&'static str>> {
    let probe = Stage::make(parent, id, warn)?;
    probe.make_tree()?;
    let (dir, name) = (probe.parent(), path.file_name().unwrap_or_default());
    match renameat(dir, name, dir, &probe.name) {
        Err(Errno::XDEV) => Ok(Some(
            "it is in a lower layer of an overlay, which cannot be renamed",
        )),
        Err(_) => Ok(None),
        // Not expected; undone at once.
        Ok(()) => Ok(renameat(dir, &probe.name, dir, name).map(|()| None)?),
    }
}

/// Moves the new tree to the name of the old one's copy, then exchanges the two, so that a kill
/// loses neither. Where a file system cannot exchange names, the target is missing for a moment.
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
        // The first error is the one to report.
        let _ = move_new((&parent, kept), (&parent, name));
    })
}
