//! Moves what was restored into a directory that stays: what is there already is an error, or
//! is replaced, and directories are joined.
//!
//! All is looked at before the first move, and a move that fails undoes those before it. Never
//! goes through a link.

use std::io;

use anyhow::{Context, Result, bail};
use bk_archive::beneath::Beneath;
use bk_archive::remove::{names_in, open_own};
use rustix::fs::{AtFlags, FileType, RenameFlags, fsync, renameat_with, statat};
use rustix::io::Errno;

use crate::stage::{Stage, TREE};
use crate::target::with_own;

/// The moves of one restoration.
pub(crate) struct Merge<'a> {
    stage: &'a Stage,
    target: Beneath,
    moves: Vec<Move>,
}

struct Move {
    /// Below the tree of the stage, and below the target.
    name: Vec<u8>,
    replaces: bool,
}

impl<'a> Merge<'a> {
    /// # Errors
    /// What is in the way.
    pub(crate) fn plan(stage: &'a Stage, target: Beneath, overwrite: bool) -> Result<Self> {
        let mut merge = Self {
            stage,
            target,
            moves: Vec::new(),
        };
        let mut dirs = vec![Vec::new()];
        while let Some(dir) = dirs.pop() {
            let (parent, last) = stage
                .dir
                .parent(&staged(&dir))
                .map(|(fd, name)| (fd, name.to_owned()))?;
            let new = open_own(&parent, &last)?;
            let old = merge.target.open_dir(&dir)?;
            for last in names_in(&new)? {
                let name = match dir.is_empty() {
                    true => last.clone(),
                    false => [&dir[..], b"/", &last].concat(),
                };
                let kind = |dir| {
                    statat(dir, &last[..], AtFlags::SYMLINK_NOFOLLOW)
                        .map(|stat| FileType::from_raw_mode(stat.st_mode))
                };
                match (kind(&new)?, kind(&old)) {
                    (_, Err(Errno::NOENT)) => merge.add(name, false),
                    (_, Err(error)) => return Err(io::Error::from(error).into()),
                    (FileType::Directory, Ok(FileType::Directory)) => dirs.push(name),
                    (_, Ok(FileType::Directory)) => {
                        bail!("'{}' is there already, as a directory", name.escape_ascii())
                    }
                    _ if !overwrite => bail!(
                        "'{}' is there already: --overwrite replaces it",
                        name.escape_ascii()
                    ),
                    _ => merge.add(name, true),
                }
            }
        }
        Ok(merge)
    }

    fn add(&mut self, name: Vec<u8>, replaces: bool) {
        self.moves.push(Move { name, replaces });
    }

    /// # Errors
    /// Those of the file system; all is as it was then, as far as that could be done.
    pub(crate) fn run(self) -> Result<()> {
        if self.moves.iter().any(|one| one.replaces) {
            self.stage.will_hold_replaced()?;
        }
        for (count, one) in self.moves.iter().enumerate() {
            let Err(error) = self.rename(one, true) else {
                continue;
            };
            for done in self.moves[..count].iter().rev() {
                self.rename(done, false)
                    .with_context(|| format!("cannot move '{}' back", done.name.escape_ascii()))?;
            }
            let name = one.name.escape_ascii();
            return Err(error).with_context(|| format!("cannot move '{name}' to its place"));
        }
        Ok(())
    }

    fn rename(&self, one: &Move, is_forth: bool) -> io::Result<()> {
        let staged = staged(&one.name);
        let (new, name) = self.stage.dir.parent(&staged)?;
        let (old, _) = self.target.parent(&one.name)?;
        let flags = match one.replaces {
            true => RenameFlags::EXCHANGE,
            false => RenameFlags::NOREPLACE,
        };
        let (from, to) = if is_forth { (&new, &old) } else { (&old, &new) };
        with_own(from, name, || renameat_with(from, name, to, name, flags))?;
        let _ = fsync(&old);
        Ok(())
    }
}

fn staged(name: &[u8]) -> Vec<u8> {
    match name {
        [] => TREE.as_bytes().to_owned(),
        name => [TREE.as_bytes(), b"/", name].concat(),
    }
}
