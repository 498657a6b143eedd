//! Removes archives, then their records: row `deleting`, unlink, sync, row gone, as the design's
//! section 8 has it. What is to go is chosen by the program, under the lock, from the catalog as
//! it is then.
//!
//! In parts, so that the catalog is never held while an archive is unlinked, and no more files
//! are held than a process may have open. Knows no policy and prints nothing.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context, Error, Result};
use bk_schema::event::Event;
use bk_schema::record::{Backup, Status};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Map, Value};

use crate::archives::advisory_lock::{Locked, lock, size_bytes};
use crate::archives::durable::sync_dir;
use crate::archives::open::is_absent;
use crate::archives::partial::partial_path;
use crate::archives::spare;
use crate::catalog;
use crate::home::Home;
use crate::session::Session;
use crate::signals::Signals;
use crate::storage::unreachable;

/// Most records in one part.
const PART_MAX: usize = 4000;
/// Open files that a process needs beside the archives that it holds.
const OTHER_FILES: u64 = 24;

/// A backup that is to be removed.
#[derive(Debug)]
pub struct Candidate<T> {
    /// As it is in the catalog.
    pub backup: Backup,
    /// What the ledger is to tell, beside the path and the bytes.
    pub details: Map<String, Value>,
    /// The program's own.
    pub with: T,
}

/// How a removal is to be done.
#[derive(Clone, Copy)]
pub struct Removal<'a> {
    /// Where the catalog is.
    pub home: &'a Home,
    /// How the ledger calls it.
    pub event: &'static str,
    /// Whether only the record goes.
    pub keep_file: bool,
    /// Whether the record goes also where its archive cannot be reached.
    pub offline: bool,
    /// A signal ends it after the archive that is being removed.
    pub signals: &'a Signals,
}

/// One candidate on its way.
struct Going<T> {
    candidate: Candidate<T>,
    held: Vec<Locked>,
    /// What was freed, in bytes, or why it stays; `None` as long as it was not tried.
    outcome: Option<Result<u64>>,
}

impl Removal<'_> {
    /// Removes what `choose` chooses, which is asked again, under the lock and for at most so
    /// many, until it chooses nothing. `tell` gets each with the bytes that were freed, or why
    /// it stays, once that is recorded.
    ///
    /// # Errors
    /// Those of the catalog, of `choose` and of `tell`. What was unlinked before and cannot be
    /// recorded is told all the same; the next session records it.
    pub fn run<T>(
        &self,
        mut choose: impl FnMut(&Session<'_>, usize) -> Result<Vec<Candidate<T>>>,
        mut tell: impl FnMut(Candidate<T>, Result<u64>) -> Result<()>,
    ) -> Result<()> {
        let most = part_len();
        let (mut part, mut told) = (Vec::new(), Ok(()));
        loop {
            let (next, recorded) = match self.step(&part, &mut choose, most) {
                Ok(next) => (next, Ok(())),
                Err(error) => (Vec::new(), Err(error)),
            };
            for going in std::mem::replace(&mut part, next) {
                drop(going.held);
                // What is begun is finished, whether anybody can be told or not.
                if let Some(outcome) = going.outcome {
                    told = told.and(tell(going.candidate, outcome));
                }
            }
            if part.is_empty() {
                // What was unlinked is free only now that it is no longer held.
                spare::allocate(self.home);
                self.signals.release();
                return recorded.and(told);
            }
            self.unlink(&mut part);
        }
    }

    /// One session: records what became of a part, and begins the next.
    fn step<T>(
        &self,
        part: &[Going<T>],
        choose: &mut impl FnMut(&Session<'_>, usize) -> Result<Vec<Candidate<T>>>,
        most: usize,
    ) -> Result<Vec<Going<T>>> {
        let mut own: Vec<_> = part.iter().map(id).collect();
        own.sort_unstable();
        catalog::write_removal(self.home, &own, |session| {
            // A signal ends the wait for the first session; from here on it finds good order.
            self.signals.hold();
            self.record(session, part.iter().filter(|it| !it.held.is_empty()))?;
            if self.signals.caught().is_some() {
                return Ok(Vec::new());
            }
            let chosen = choose(session, most.min(spare::row_count(self.home)))?;
            self.begin(session, chosen)
        })
    }

    /// Takes the archives and marks their rows. A missing one is done, and what cannot be taken
    /// stays.
    fn begin<T>(&self, session: &Session<'_>, chosen: Vec<Candidate<T>>) -> Result<Vec<Going<T>>> {
        let take = |mut candidate: Candidate<T>| {
            let held = if self.keep_file {
                Ok(Vec::new())
            } else {
                self.take(&mut candidate)
            };
            let (held, outcome) = match held {
                Ok(held) if held.is_empty() => (held, Some(Ok(0))),
                Ok(held) => (held, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            Going {
                candidate,
                held,
                outcome,
            }
        };
        let part: Vec<_> = chosen.into_iter().map(take).collect();
        let marked = part.iter().filter(|it| !it.held.is_empty());
        session.set_status(&marked.map(id).collect::<Vec<_>>(), Status::Deleting)?;
        self.record(session, part.iter().filter(|it| it.held.is_empty()))?;
        Ok(part)
    }

    /// The files of a backup. None is missing where that cannot be told.
    fn take<T>(&self, candidate: &mut Candidate<T>) -> Result<Vec<Locked>> {
        match reach(self.home, &candidate.backup, lock) {
            Err(error) if self.offline && is_unreachable(&error) => {
                candidate.details.insert("offline".into(), true.into());
                Ok(Vec::new())
            }
            held => held,
        }
    }

    fn unlink<T>(&self, part: &mut [Going<T>]) {
        let mut dirs = BTreeSet::new();
        for going in part.iter_mut().filter(|it| it.outcome.is_none()) {
            if self.signals.caught().is_some() {
                break;
            }
            going.outcome = Some(unlink_all(&going.held));
            let parents = going.held.iter().filter_map(|held| held.path().parent());
            dirs.extend(parents.map(Path::to_owned));
        }
        let unsynced: Vec<_> = dirs
            .iter()
            .filter_map(|dir| Some((dir, sync_dir(dir).err()?)))
            .collect();
        for (dir, error) in unsynced {
            let is_in = |going: &&mut Going<T>| {
                let mut parents = going.held.iter().filter_map(|held| held.path().parent());
                going.outcome.is_some() && parents.any(|parent| parent == dir)
            };
            for going in part.iter_mut().filter(is_in) {
                going.outcome = Some(Err(anyhow::anyhow!("{error:#}")));
            }
        }
    }

    /// What became of a part: rows that go, rows that stay as they were, and the ledger. What is
    /// unlinked, but perhaps not to last, stays `deleting`: the next session finishes it.
    fn record<'a, T: 'a>(
        &self,
        session: &Session<'_>,
        part: impl Iterator<Item = &'a Going<T>>,
    ) -> Result<()> {
        let is_gone = |it: &&Going<T>| matches!(it.outcome, Some(Ok(_)));
        let (gone, stays): (Vec<_>, Vec<_>) = part.partition(is_gone);
        session.remove(&gone.iter().copied().map(id).collect::<Vec<_>>())?;
        for (_, status) in Status::ALL {
            let is_of = |it: &&&Going<T>| it.candidate.backup.status == status;
            let marked = stays.iter().filter(|it| is_whole(it));
            let ids: Vec<_> = marked.filter(is_of).copied().map(id).collect();
            session.set_status(&ids, status)?;
        }
        let all = gone.into_iter().chain(stays);
        session.log_all(&all.filter_map(|it| self.event(it)).collect::<Vec<_>>())
    }

    /// What is to be told of one that was tried.
    fn event<'a, T>(&self, going: &'a Going<T>) -> Option<Event<'a>> {
        let backup = &going.candidate.backup;
        let mut details = going.candidate.details.clone();
        details.insert("path".into(), backup.backup_path.clone().into());
        let outcome = going.outcome.as_ref()?;
        if outcome.as_ref().is_err_and(|it| unreachable(it).is_some()) {
            // Left alone, night after night: it is told, and nothing happened.
            return None;
        }
        match outcome {
            Ok(bytes) => details.insert("freed".into(), (*bytes).into()),
            Err(error) => details.insert("reason".into(), format!("{error:#}").into()),
        };
        Some(Event {
            backup: Some((backup.id, &backup.backup_name)),
            event: self.event,
            ok: outcome.is_ok(),
            details: details.into(),
        })
    }
}

fn id<T>(going: &Going<T>) -> i64 {
    going.candidate.backup.id
}

/// Whether all that was to be removed is still there, or what came into its place, which no
/// recovery is to remove.
fn is_whole<T>(going: &Going<T>) -> bool {
    let look = |held: &Locked| held.path().symlink_metadata();
    let is_there = |held: &Locked| !look(held).is_err_and(|error| is_absent(&error));
    !going.held.is_empty() && going.held.iter().all(is_there)
}

/// Whether a living process is removing a backup whose row says so: it holds the archive, or
/// has just unlinked it. What it cannot tell, the removal will.
#[must_use]
pub fn is_under_way(home: &Home, backup: &Backup) -> bool {
    match reach(home, backup, lock) {
        Ok(held) => held.is_empty(),
        Err(error) => io_error(&error).is_some_and(|it| it.kind() == ErrorKind::WouldBlock),
    }
}

/// The bytes that a removal would free.
///
/// # Errors
/// What is no regular file, a storage that is not there, and those of the file system.
pub fn would_free(home: &Home, backup: &Backup) -> Result<u64> {
    Ok(reach(home, backup, size_bytes)?.into_iter().sum())
}

/// Whether a removal failed as nobody can tell whether there is an archive.
#[must_use]
pub fn is_unreachable(error: &Error) -> bool {
    // What is no answer of the system is ours: somebody is at work on it, or it is no file.
    unreachable(error).is_some() || io_error(error).is_some_and(|it| it.raw_os_error().is_some())
}

/// As [`each_file`], where the storage is there: before the look and after one that found none.
fn reach<T>(
    home: &Home,
    backup: &Backup,
    ask: impl Fn(&Path) -> io::Result<Option<T>>,
) -> Result<Vec<T>> {
    let archive = Path::new(&backup.backup_path);
    home.storages.check(archive)?;
    let all = each_file(backup, ask)?;
    if all.is_empty() {
        home.storages.check_again(archive)?;
    }
    Ok(all)
}

/// Whether a removal failed as what is in the archive's place is none.
#[must_use]
pub fn is_no_archive(error: &Error) -> bool {
    io_error(error).is_some_and(|it| it.kind() == ErrorKind::InvalidInput)
}

fn io_error(error: &Error) -> Option<&io::Error> {
    error.root_cause().downcast_ref()
}

/// Of the archive, and of what is left of a failed attempt.
fn each_file<T>(backup: &Backup, ask: impl Fn(&Path) -> io::Result<Option<T>>) -> Result<Vec<T>> {
    let archive = Path::new(&backup.backup_path);
    let mut all = Vec::new();
    for path in [archive.to_owned(), partial_path(archive)] {
        all.extend(ask(&path).with_context(|| format!("'{}'", path.display()))?);
    }
    Ok(all)
}

/// The bytes that were freed.
fn unlink_all(all: &[Locked]) -> Result<u64> {
    let mut freed_bytes = 0;
    for held in all {
        match held.unlink() {
            Ok(()) => freed_bytes += held.size_bytes(),
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot remove '{}'", held.path().display()));
            }
        }
    }
    Ok(freed_bytes)
}

/// Most records in one part. Each may hold two files; the limit is raised as far as it may be.
#[must_use]
pub fn part_len() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // A limit that cannot be raised is still one to keep to.
    let _ = setrlimit(Resource::Nofile, limit);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let records = files.saturating_sub(OTHER_FILES) / 2;
    usize::try_from(records)
        .unwrap_or(PART_MAX)
        .clamp(1, PART_MAX)
}
