//! Merges what was restored into a directory that stays: directories are joined; existing files
//! are replaced, or are an error.
//!
//! All is checked before the first move, and a move that fails undoes those before it. Follows no
//! symbolic link.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bk_archive::restore::attributes::Attributes;
use bk_archive::restore::beneath::{Beneath, split_last};
use bk_archive::restore::extract::Observer;
use bk_archive::restore::remove::{names_in, open_own};
use bk_archive::restore::rename::{move_new, opened_up, replace, sync};
use bk_archive::restore::stage::{Stage, in_tree};
use jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, statat};
use rustix::io::Errno;

use crate::routes::follow;

/// What may be changed in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Whether files and links are replaced.
    pub(crate) overwrite: bool,
    /// Whether directories get their attributes from the archive.
    pub(crate) gives_attributes: bool,
    /// When this process began: a younger link may come from an archive.
    pub(crate) began: Timestamp,
}

/// The moves of one restoration.
pub(crate) struct Merge<'a> {
    stage: &'a Stage,
    target: Beneath,
    moves: Vec<Move>,
    /// So many of them are done, from the first on.
    done: usize,
    /// Existing directories that the archive has an entry for, parents first.
    joined: Vec<(Vec<u8>, Attributes)>,
    /// Holds what is replaced, each under the number of its move.
    replaced: Option<OwnedFd>,
}

struct Move {
    /// The path below the stage, and below the target.
    name: Vec<u8>,
    replaces: bool,
}

/// What to do with one name.
enum Join {
    Move {
        replaces: bool,
    },
    Descend,
    /// A symbolic link to a directory stays.
    Stays,
}

impl<'a> Merge<'a> {
    /// # Errors
    /// Something that is in the way.
    pub(crate) fn plan(
        stage: &'a Stage,
        target: Beneath,
        path: &Path,
        rules: Rules,
        has_entry: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Self> {
        let mut merge = Self {
            stage,
            target,
            moves: Vec::new(),
            done: 0,
            joined: Vec::new(),
            replaced: None,
        };
        let mut dirs = vec![Vec::new()];
        while let Some(dir) = dirs.pop() {
            let staged = in_tree(&dir);
            let (parent, last) = stage.dir.parent(&staged)?;
            // Read before the directory is made writable, and before something is moved out of it.
            let stat = statat(&parent, last, AtFlags::SYMLINK_NOFOLLOW)?;
            let new = open_own(&parent, last)?;
            if rules.gives_attributes && has_entry(&dir) {
                let likeness = Attributes::of(&new, &stat)?;
                merge.joined.push((dir.clone(), likeness));
            }
            let old = merge.target.open_dir(&dir)?;
            for last in names_in(&new)? {
                let name = match dir.is_empty() {
                    true => last.clone(),
                    false => [&dir[..], b"/", &last].concat(),
                };
                match join(&new, &old, &last, &name, path, rules)? {
                    Join::Move { replaces } => merge.moves.push(Move { name, replaces }),
                    Join::Descend => dirs.push(name),
                    Join::Stays => {}
                }
            }
        }
        if merge.moves.iter().any(|one| one.replaces) {
            merge.replaced = Some(stage.hold_replaced()?);
        }
        Ok(merge)
    }

    /// # Errors
    /// The first move that fails; the others are undone, as far as possible.
    pub(crate) fn run(mut self) -> Result<Self> {
        if let Err(error) = self.move_all() {
            self.undo()
                .with_context(|| format!("cannot move all back after: {error:#}"))?;
            return Err(error);
        }
        Ok(self)
    }

    fn move_all(&mut self) -> Result<()> {
        while let Some(one) = self.moves.get(self.done) {
            self.shift(self.done, false).with_context(|| {
                format!("cannot move '{}' to its place", one.name.escape_ascii())
            })?;
            self.done += 1;
        }
        Ok(self.sync()?)
    }

    /// Makes a move, or takes it back.
    fn shift(&self, number: usize, is_back: bool) -> io::Result<()> {
        let one = &self.moves[number];
        let staged = in_tree(&one.name);
        let (stage_dir, name) = self.stage.dir.parent(&staged)?;
        let (dir, _) = self.target.parent(&one.name)?;
        let (new, old) = ((&stage_dir, name), (&dir, name));
        let aside = number.to_string();
        opened_up(&dir, || match &self.replaced {
            Some(replaced) if one.replaces => {
                let keep = || self.stage.keep();
                let aside = (replaced, aside.as_bytes());
                match is_back {
                    true => replace(aside, old, new, &keep),
                    false => replace(new, old, aside, &keep),
                }
            }
            _ if is_back => move_new(old, new),
            _ => move_new(new, old),
        })
    }

    /// Syncs the directories that something was moved into.
    fn sync(&self) -> io::Result<()> {
        let parents: BTreeSet<_> = self
            .moves
            .iter()
            .map(|one| split_last(&one.name).0)
            .collect();
        for parent in parents {
            sync(self.target.open_dir(parent)?)?;
        }
        Ok(())
    }

    /// Moves everything back.
    pub(crate) fn undo(&mut self) -> io::Result<()> {
        while self.done > 0 {
            // What was replaced is in the stage.
            self.shift(self.done - 1, true)
                .inspect_err(|_| self.stage.keep())?;
            self.done -= 1;
        }
        Ok(())
    }

    /// Restores the attributes of joined directories, children first.
    pub(crate) fn finish(&self, observer: &dyn Observer) -> io::Result<()> {
        let mut joined: Vec<_> = self.joined.iter().collect();
        joined.sort_by(|one, other| other.0.cmp(&one.0));
        for (dir, likeness) in joined {
            observer.report(dir, likeness.copy_to(self.target.open_dir(dir)?)?);
        }
        Ok(())
    }
}

/// Decides on a name of the new directory.
fn join(
    new: &OwnedFd,
    old: &OwnedFd,
    last: &[u8],
    name: &[u8],
    path: &Path,
    rules: Rules,
) -> Result<Join> {
    let kind = |dir| {
        statat(dir, last, AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| FileType::from_raw_mode(stat.st_mode))
    };
    let shown = name.escape_ascii();
    let new_kind = kind(new).map_err(io::Error::from)?;
    let old_kind = match kind(old) {
        Err(Errno::NOENT) => return Ok(Join::Move { replaces: false }),
        kind => kind.map_err(io::Error::from)?,
    };
    let link = path.join(OsStr::from_bytes(name));
    match (new_kind, old_kind) {
        (FileType::Directory, FileType::Directory) => Ok(Join::Descend),
        (FileType::Directory, FileType::Symlink) if link.is_dir() => {
            let is_whole = names_in(open_own(new, last)?)?.is_empty();
            if !is_whole || follow(&link, rules.began).is_none() {
                bail!(
                    "'{shown}' is there already, as a symbolic link of another user or of an archive: remove it, or make it a directory"
                );
            }
            Ok(Join::Stays)
        }
        _ => {
            check_replaced(old_kind, rules.overwrite, &shown.to_string())?;
            Ok(Join::Move { replaces: true })
        }
    }
}

/// # Errors
/// What may not be replaced.
pub(crate) fn check_replaced(old: FileType, overwrite: bool, shown: &str) -> Result<()> {
    ensure!(
        old != FileType::Directory,
        "'{shown}' is there already, as a directory"
    );
    ensure!(
        overwrite,
        "'{shown}' is there already: --overwrite replaces it"
    );
    Ok(())
}
