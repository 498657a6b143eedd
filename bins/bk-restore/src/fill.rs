//! Exchanges the content of a directory that cannot be renamed: name by name, what is there moves
//! into a directory within it, and what was restored takes its place.
//!
//! All is undone where one move fails. No file is removed or written to: after a kill each is in
//! one of the two places. Knows no archive.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use bk_archive::restore::attributes::{Attributes, Skipped};
use bk_archive::restore::beneath::{Beneath, DIR_FLAGS};
use bk_archive::restore::remove::names_in;
use bk_archive::restore::rename::{move_new, opened_up, sync};
use bk_archive::restore::stage::{Stage, TREE, is_stage};
use rustix::fs::{AtFlags, FileType, Mode, fstat, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;

/// The moves that were made, to be undone.
#[derive(Debug)]
pub(crate) struct Fill {
    dir: Beneath,
    kept: Beneath,
    kept_name: Vec<u8>,
    new: OwnedFd,
    /// The attributes of `new`, before something was moved out of it.
    likeness: Attributes,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    /// Moved into what is kept.
    Aside(Vec<u8>),
    /// A directory that cannot be moved as a whole, made anew in what is kept.
    MadeKept(Vec<u8>),
    /// Such a directory, removed once it was empty.
    Removed(Vec<u8>),
    /// Moved in from the stage.
    In(Vec<u8>),
}

impl Fill {
    /// Moves what the stage holds into a directory, and what was there into `kept_name` in it.
    ///
    /// # Errors
    /// The first move that fails; the others are undone, as far as possible.
    pub(crate) fn run(dir: OwnedFd, kept_name: &[u8], stage: &Stage) -> Result<Self> {
        let new = openat(stage.dir.root(), TREE, DIR_FLAGS, Mode::empty());
        let new = new.context("what was restored is not a directory, but the target is one")?;
        let likeness = Attributes::of(&new, &fstat(&new)?)?;
        opened_up(&dir, || Ok(mkdirat(&dir, kept_name, Mode::RWXU)?))?;
        let kept = openat(&dir, kept_name, DIR_FLAGS, Mode::empty())?;
        let mut fill = Self {
            dir: Beneath::new(dir),
            kept: Beneath::new(kept),
            kept_name: kept_name.to_owned(),
            likeness,
            new,
            steps: Vec::new(),
        };
        if let Err(error) = fill.move_all() {
            fill.undo()
                .with_context(|| format!("cannot put back what was there after: {error:#}"))?;
            return Err(error);
        }
        Ok(fill)
    }

    fn move_all(&mut self) -> Result<()> {
        let mut new = names_in(&self.new)?;
        for name in names_in(self.dir.root())? {
            if is_ours(&name) {
                continue;
            }
            let shown = name.escape_ascii().to_string();
            self.set_aside(&name)
                .with_context(|| format!("cannot move '{shown}' aside"))?;
            // At once, so that the name is missing as shortly as possible.
            if let Some(at) = new.iter().position(|it| *it == name) {
                self.take_in(new.swap_remove(at))?;
            }
        }
        for name in new {
            self.take_in(name)?;
        }
        sync(self.kept.root())?;
        Ok(sync(self.dir.root())?)
    }

    fn take_in(&mut self, name: Vec<u8>) -> Result<()> {
        let root = self.dir.root();
        opened_up(root, || move_new((&self.new, &name), (&root, &name)))
            .with_context(|| format!("cannot move '{}' to its place", name.escape_ascii()))?;
        self.steps.push(Step::In(name));
        Ok(())
    }

    fn set_aside(&mut self, name: &[u8]) -> io::Result<()> {
        match move_across(&self.dir, &self.kept, name) {
            Ok(()) => {
                self.steps.push(Step::Aside(name.to_owned()));
                return Ok(());
            }
            // A directory of a lower layer can be emptied, but not renamed.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            Err(error) => return Err(error),
        }
        let (parent, last) = self.dir.parent(name)?;
        let stat = statat(&parent, last, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Errno::XDEV.into());
        }
        let (kept_parent, _) = self.kept.parent(name)?;
        mkdirat(&kept_parent, last, Mode::RWXU)?;
        self.steps.push(Step::MadeKept(name.to_owned()));
        let dir = self.dir.open_dir(name)?;
        let likeness = Attributes::of(&dir, &stat)?;
        for child in names_in(&dir)? {
            self.set_aside(&[name, b"/", &child].concat())?;
        }
        likeness.copy_to(self.kept.open_dir(name)?)?;
        opened_up(&parent, || Ok(unlinkat(&parent, last, AtFlags::REMOVEDIR)?))?;
        self.steps.push(Step::Removed(name.to_owned()));
        Ok(())
    }

    /// Restores the attributes of the directory itself.
    pub(crate) fn finish(&self) -> io::Result<Vec<Skipped>> {
        self.likeness.copy_to(self.dir.root())
    }

    /// Moves everything back.
    pub(crate) fn undo(&mut self) -> io::Result<()> {
        while let Some(step) = self.steps.pop() {
            match step {
                Step::In(name) => {
                    let root = self.dir.root();
                    opened_up(root, || move_new((&root, &name), (&self.new, &name)))?;
                }
                Step::Aside(name) => move_across(&self.kept, &self.dir, &name)?,
                Step::Removed(name) => {
                    let (parent, last) = self.dir.parent(&name)?;
                    opened_up(&parent, || Ok(mkdirat(&parent, last, Mode::RWXU)?))?;
                    let kept = self.kept.open_dir(&name)?;
                    Attributes::of(&kept, &fstat(&kept)?)?.copy_to(self.dir.open_dir(&name)?)?;
                }
                Step::MadeKept(name) => {
                    let (parent, last) = self.kept.parent(&name)?;
                    unlinkat(&parent, last, AtFlags::REMOVEDIR)?;
                }
            }
        }
        let root = self.dir.root();
        opened_up(root, || {
            Ok(unlinkat(root, &self.kept_name[..], AtFlags::REMOVEDIR)?)
        })
    }
}

/// Moves something to the same name below another directory.
fn move_across(from: &Beneath, to: &Beneath, name: &[u8]) -> io::Result<()> {
    let (from, last) = from.parent(name)?;
    let (to, _) = to.parent(name)?;
    opened_up(&from, || {
        opened_up(to.as_fd(), || move_new((&from, last), (&to, last)))
    })
}

/// Whether it is a stage, or what an earlier restoration kept.
fn is_ours(name: &[u8]) -> bool {
    let number = name.strip_prefix(b".before-");
    let is_kept = number.is_some_and(|it| !it.is_empty() && it.iter().all(u8::is_ascii_digit));
    is_kept || is_stage(name)
}
