//! The files of a part on their way: renamed, or copied, and the old ones removed.
//!
//! Knows no catalog: what is done between two sessions is here.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use bk_cli::Progress;
use bk_store::Signals;
use bk_store::archives::advisory_lock::Locked;
use bk_store::archives::distinct::prove_apart;
use bk_store::archives::durable::{dir_of, sync_dir};
use bk_store::archives::open::is_absent;
use bk_store::archives::partial::Partial;

use crate::copy::copy;
use crate::part::{Going, State};
use crate::target::Target;
use crate::way::Way;

/// Brings those that are begun to the new place. A signal ends it after the one that is being
/// renamed, and undoes the one that is being copied.
pub(crate) fn bring(part: &mut [Going], target: &Target, signals: &Signals, progress: &Progress) {
    for going in part
        .iter_mut()
        .filter(|it| matches!(it.state, State::Begun))
    {
        if signals.caught().is_some() {
            break;
        }
        going.state = match bring_one(going, target, signals, progress) {
            Ok(state) => state,
            Err(_) if signals.caught().is_some() => {
                let number = signals.caught().unwrap_or_default();
                State::Stays(anyhow!("interrupted by signal {number}"))
            }
            Err(error) => State::Stays(error),
        };
    }
    let is_renamed = |going: &Going| matches!(going.state, State::Moved) && going.archive.is_some();
    let dirs = |going: &Going| vec![parent(&going.transfer.to), parent(&going.transfer.from)];
    sync(part, is_renamed, dirs, |_, error| anyhow!("{error:#}"));
}

fn bring_one(
    going: &mut Going,
    target: &Target,
    signals: &Signals,
    progress: &Progress,
) -> Result<State> {
    let to = Path::new(&going.transfer.to);
    let Some(archive) = &mut going.archive else {
        return Ok(State::Begun);
    };
    match archive.rename(to) {
        Ok(()) => {
            going.transfer.way = Way::Rename;
            Ok(State::Moved)
        }
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            going.transfer.way = Way::Copy;
            target.check_space(1, archive.size_bytes)?;
            let made = copy(archive, &going.transfer.backup, to, signals, progress)?;
            going.copy = Some(made);
            Ok(State::Copied)
        }
        Err(error) => Err(error).with_context(|| {
            let from = &going.transfer.from;
            format!("cannot rename '{from}' to '{}'", to.display())
        }),
    }
}

/// Removes the old archives of those whose rows point to the new ones.
pub(crate) fn remove_old(part: &mut [Going]) {
    for going in part.iter_mut() {
        if let (State::Repointed, Some(archive)) = (&going.state, &going.archive) {
            going.state = match unlink(archive, going) {
                Ok(()) => State::Moved,
                Err(error) => State::Left(stays(going, &error.into())),
            };
        }
    }
    let is_moved = |going: &Going| {
        matches!(going.state, State::Moved)
            && !matches!(going.transfer.way, Way::Rename | Way::None)
    };
    let dirs = |going: &Going| vec![parent(&going.transfer.from)];
    sync(part, is_moved, dirs, stays);
}

/// Only where nothing says that this is the copy too.
fn unlink(archive: &Locked, going: &Going) -> io::Result<()> {
    let is_there = going.copy.as_ref().map_or(Ok(false), Partial::is_in_place);
    if !is_there? {
        return Err(io::Error::other("the new one is gone"));
    }
    prove_apart(&archive.path, Path::new(&going.transfer.to))?;
    match archive.unlink() {
        Err(error) if is_absent(&error) => Ok(()),
        unlinked => unlinked,
    }
}

fn stays(going: &Going, error: &anyhow::Error) -> anyhow::Error {
    let (from, to) = (&going.transfer.from, &going.transfer.to);
    anyhow!("it is '{to}' now, but the old '{from}' cannot be removed: {error:#}")
}

fn parent(path: &str) -> PathBuf {
    dir_of(path.as_ref()).to_owned()
}

/// Syncs the directories of those that are meant, each once; one that fails leaves them to the
/// next session.
fn sync(
    part: &mut [Going],
    is_meant: impl Fn(&Going) -> bool,
    dirs: impl Fn(&Going) -> Vec<PathBuf>,
    error_of: impl Fn(&Going, &anyhow::Error) -> anyhow::Error,
) {
    let mut failed = BTreeMap::new();
    let meant: Vec<_> = part.iter_mut().filter(|it| is_meant(it)).collect();
    for going in meant {
        for dir in dirs(going) {
            let synced = failed
                .entry(dir)
                .or_insert_with_key(|dir| sync_dir(dir).err());
            if let Some(error) = synced {
                going.state = State::Left(error_of(going, error));
            }
        }
    }
}
