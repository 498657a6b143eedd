//! A directory that files are restored to, which is empty or made anew: they are unpacked beside it or in it, and
//! moved there when all is whole.
//!
//! Whatever fails, the directory is as it was. Knows no location.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bk_archive::restore::attributes::Attributes;
use bk_archive::restore::beneath::DIR_FLAGS;
use bk_archive::restore::extract::{Extracted, Observer};
use bk_archive::restore::remove::names_in;
use bk_archive::restore::rename::{move_new, open_dir, sync};
use bk_archive::restore::stage::{Stage, TREE, is_stage};
use rustix::fs::{Mode, fstat, openat};

use crate::flags::PROGRAM;
use crate::watch::Watch;

/// The directory, with the place where its content is made.
pub(crate) struct Target {
    /// Absolute, with symbolic links resolved.
    pub(crate) path: PathBuf,
    is_there: bool,
    pub(crate) stage: Stage,
}

impl Target {
    /// Makes the place; `id` is that of the backup.
    ///
    /// # Errors
    /// A directory that is not empty, something else that is there, none that it could be made in.
    pub(crate) fn new(dir: &Path, id: i64) -> Result<Self> {
        let cannot = || format!("cannot restore to '{}'", dir.display());
        let is_there = dir.is_dir();
        let (path, within) = if is_there {
            let path = dir.canonicalize().with_context(cannot)?;
            check_empty(&path)?;
            (path.clone(), path)
        } else {
            ensure!(
                dir.symlink_metadata().is_err(),
                "'{}' is not a directory",
                dir.display()
            );
            let name = dir.file_name().with_context(cannot)?;
            let above = dir.parent().unwrap_or(Path::new("/"));
            let above = above.canonicalize().with_context(|| {
                let above = above.display();
                format!("{}: '{above}'", cannot())
            })?;
            (above.join(name), above)
        };
        let stage = Stage::make(&within, id, |text| PROGRAM.warn(text))?;
        Ok(Self {
            path,
            is_there,
            stage,
        })
    }

    /// Moves what was unpacked there.
    ///
    /// # Errors
    /// The first move that fails; nothing is there then.
    pub(crate) fn place(&self, done: &Extracted, watch: &Watch) -> Result<()> {
        self.stage.make_tree()?;
        self.stage.sync()?;
        ensure!(!watch.is_stopped(), "interrupted");
        let cannot = || format!("cannot move what was restored to '{}'", self.path.display());
        match self.is_there {
            true => self.fill(done, watch).with_context(cannot),
            false => {
                let name = self.path.file_name().unwrap_or_default();
                let (root, parent) = (self.stage.dir.root(), self.stage.parent());
                let moved = move_new((&root, TREE.as_bytes()), (&parent, name.as_bytes()));
                moved.with_context(cannot)?;
                sync(parent).with_context(cannot)
            }
        }
    }

    /// Into a directory that stays, name by name.
    fn fill(&self, done: &Extracted, watch: &Watch) -> Result<()> {
        let (dir, root) = (open_dir(&self.path)?, self.stage.dir.root());
        let tree: OwnedFd = openat(root, TREE, DIR_FLAGS, Mode::empty())
            .context("what was restored is not a directory, but the target is one")?;
        // Before something is moved out of it.
        let likeness = Attributes::of(&tree, &fstat(&tree)?)?;
        let mut moved: Vec<Vec<u8>> = Vec::new();
        for name in names_in(&tree)? {
            if let Err(error) = move_new((&tree, &name), (&dir, &name)) {
                for name in moved.iter().rev() {
                    let back = move_new((&dir, name), (&tree, name));
                    back.with_context(|| shown(name, "cannot be put back"))?;
                }
                return Err(error).with_context(|| shown(&name, "cannot be moved"));
            }
            moved.push(name);
        }
        if done.has_root {
            watch.report(b".", likeness.copy_to(&dir)?);
        }
        Ok(sync(&dir)?)
    }
}

fn shown(name: &[u8], what: &str) -> String {
    format!("'{}' {what}", OsStr::from_bytes(name).display())
}

fn check_empty(dir: &Path) -> Result<()> {
    let names = open_dir(dir).and_then(names_in);
    let names = names.with_context(|| format!("cannot read '{}'", dir.display()))?;
    ensure!(
        names.iter().all(|name| is_stage(name)),
        "'{}' is not empty: name an empty or a new directory",
        dir.display()
    );
    Ok(())
}
