//! Removes archives, then their records: row `deleting`, unlink, sync, row gone, as the design's
//! section 8 has it. What is to go is chosen by the program, under the lock, from the catalog as
//! it is then.
//!
//! In parts, so that the catalog is never held while an archive is unlinked, and no more files
//! are held than a process may have open. Knows no policy and prints nothing.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Map, Value};

use crate::at_work::{Held, hold};
use crate::catalog::{self, Event, Session};
use crate::durable::sync_dir;
use crate::home::Home;
use crate::record::{Backup, Status};
use crate::recovery::partial_path;
use crate::signals::Signals;

/// Most records in one part.
const PART_MAX: usize = 4000;
/// Open files that a process needs beside the archives that it holds.
const OTHER_FILES: u64 = 64;

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
    /// A signal ends it after the archive that is being removed.
    pub signals: &'a Signals,
}

/// One candidate on its way.
struct Going<T> {
    candidate: Candidate<T>,
    held: Vec<Held>,
    /// What was freed, in bytes, or why it stays.
    outcome: Result<u64>,
}

impl Removal<'_> {
    /// Removes what `choose` chooses, which is asked again, under the lock and for at most so
    /// many, until it chooses nothing. `tell` gets each with the bytes that were freed, or why
    /// it stays, once that is recorded.
    ///
    /// # Errors
    /// Those of the catalog, of `choose` and of `tell`. What was unlinked before and is not yet
    /// recorded, the next session records.
    pub fn run<T>(
        &self,
        mut choose: impl FnMut(&Session<'_>, usize) -> Result<Vec<Candidate<T>>>,
        mut tell: impl FnMut(Candidate<T>, Result<u64>) -> Result<()>,
    ) -> Result<()> {
        let most = part_len();
        self.signals.hold();
        let (mut part, mut told) = (Vec::new(), Ok(()));
        loop {
            let mut own: Vec<_> = part.iter().map(id).collect();
            own.sort_unstable();
            let next = catalog::write_removal(self.home, &own, |session| {
                self.record(session, part.iter().filter(|it| !it.held.is_empty()))?;
                if self.signals.caught().is_some() {
                    return Ok(Vec::new());
                }
                let chosen = choose(session, most)?;
                self.begin(session, chosen)
            })?;
            for going in std::mem::replace(&mut part, next) {
                drop(going.held);
                // What is begun is finished, whether anybody can be told or not.
                told = told.and(tell(going.candidate, going.outcome));
            }
            if part.is_empty() {
                break;
            }
            self.unlink(&mut part);
        }
        self.signals.release();
        told
    }

    /// Takes the archives and marks their rows. A missing one is done, and what cannot be taken
    /// stays.
    fn begin<T>(&self, session: &Session<'_>, chosen: Vec<Candidate<T>>) -> Result<Vec<Going<T>>> {
        let take = |candidate: Candidate<T>| {
            let held = if self.keep_file {
                Ok(Vec::new())
            } else {
                hold_all(&candidate.backup)
            };
            let (held, outcome) = match held {
                Ok(held) => (held, Ok(0)),
                Err(error) => (Vec::new(), Err(error)),
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

    fn unlink<T>(&self, part: &mut [Going<T>]) {
        let mut dirs = BTreeSet::new();
        for going in part.iter_mut() {
            if self.signals.caught().is_some() && !going.held.is_empty() {
                going.outcome = Err(anyhow::anyhow!("interrupted"));
            }
            if going.outcome.is_ok() {
                going.outcome = unlink_all(&going.held);
                dirs.extend(
                    going
                        .held
                        .iter()
                        .filter_map(|held| held.path().parent().map(Path::to_owned)),
                );
            }
        }
        let unsynced: Vec<_> = dirs
            .iter()
            .filter_map(|dir| Some((dir, sync_dir(dir).err()?)))
            .collect();
        for (dir, error) in unsynced {
            let is_in = |going: &&mut Going<T>| {
                going
                    .held
                    .iter()
                    .any(|held| held.path().parent() == Some(dir))
            };
            for going in part.iter_mut().filter(is_in) {
                going.outcome = Err(anyhow::anyhow!("{error:#}"));
            }
        }
    }

    /// What became of a part: rows that go, rows that stay as they were, and the ledger.
    fn record<'a, T: 'a>(
        &self,
        session: &Session<'_>,
        part: impl Iterator<Item = &'a Going<T>>,
    ) -> Result<()> {
        let (gone, stays): (Vec<_>, Vec<_>) = part.partition(|it| it.outcome.is_ok());
        session.remove(&gone.iter().copied().map(id).collect::<Vec<_>>())?;
        for going in stays.iter().filter(|it| !it.held.is_empty()) {
            session.set_status(&[id(going)], going.candidate.backup.status)?;
        }
        let all = gone.into_iter().chain(stays);
        session.log_all(&all.map(|going| self.event(going)).collect::<Vec<_>>())
    }

    fn event<'a, T>(&self, going: &'a Going<T>) -> Event<'a> {
        let backup = &going.candidate.backup;
        let mut details = going.candidate.details.clone();
        details.insert("path".into(), backup.backup_path.clone().into());
        match &going.outcome {
            Ok(bytes) => details.insert("freed".into(), (*bytes).into()),
            Err(error) => details.insert("reason".into(), format!("{error:#}").into()),
        };
        Event {
            backup: Some((backup.id, &backup.backup_name)),
            event: self.event,
            ok: going.outcome.is_ok(),
            details: details.into(),
        }
    }
}

fn id<T>(going: &Going<T>) -> i64 {
    going.candidate.backup.id
}

/// The archive, and what is left of a failed attempt.
fn hold_all(backup: &Backup) -> Result<Vec<Held>> {
    let archive = Path::new(&backup.backup_path);
    let mut held = Vec::new();
    for path in [archive.to_owned(), partial_path(archive)] {
        let one = hold(&path).with_context(|| format!("'{}'", path.display()))?;
        held.extend(one);
    }
    Ok(held)
}

/// The bytes that were freed.
fn unlink_all(all: &[Held]) -> Result<u64> {
    let mut freed_bytes = 0;
    for held in all {
        match held.unlink() {
            Ok(()) => freed_bytes += held.size_bytes(),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
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
