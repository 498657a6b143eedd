//! The removal of archives and their records: row `deleting`, unlink, sync, row gone. What goes is
//! chosen by the program, under the lock, from the catalog as it is then.
//!
//! Knows no policy and prints nothing.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context, Error, Result};
use bk_schema::event::Event;
use bk_schema::record::{Backup, Status};
use serde_json::{Map, Value};

use crate::archives::advisory_lock::{Locked, lock, size_bytes};
use crate::archives::durable::{dir_of, sync_dir};
use crate::archives::open::is_absent;
use crate::archives::partial::partial_path;
use crate::home::Home;
use crate::parts::{self, Parts};
use crate::session::Session;
use crate::signals::Signals;
use crate::storage::{Unreachable, unreachable};

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

/// A program that removes: what it chooses, and what it tells.
pub trait Remover {
    /// Its own of each candidate.
    type With;

    /// The next that go, at most so many; none when all is done.
    fn choose(
        &mut self,
        session: &Session<'_>,
        at_most: usize,
    ) -> Result<Vec<Candidate<Self::With>>>;

    /// Tells the bytes that were freed, or why a backup stays.
    fn tell(&mut self, candidate: Candidate<Self::With>, outcome: Result<u64>) -> Result<()>;
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

/// One candidate on its way, with its files locked.
struct Going<T> {
    candidate: Candidate<T>,
    files: Vec<Locked>,
    /// What was freed, in bytes, or why it stays; `None` as long as it was not tried.
    outcome: Option<Result<u64>>,
}

/// A removal under way.
struct Work<'a, R> {
    removal: Removal<'a>,
    remover: &'a mut R,
}

impl<R: Remover> Parts for Work<'_, R> {
    type Item = Going<R::With>;

    fn id(item: &Self::Item) -> i64 {
        item.candidate.backup.id
    }

    /// Locks the archives and marks their rows. Where there is none, the row goes at once; what
    /// cannot be locked stays.
    fn mark(&mut self, session: &Session<'_>, at_most: usize) -> Result<Vec<Self::Item>> {
        let begin = |mut candidate: Candidate<R::With>| {
            let (files, outcome) = match self.removal.lock_files(&mut candidate) {
                Ok(files) if files.is_empty() => (files, Some(Ok(0))),
                Ok(files) => (files, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            Going {
                candidate,
                files,
                outcome,
            }
        };
        let chosen = self.remover.choose(session, at_most)?;
        let part: Vec<_> = chosen.into_iter().map(begin).collect();
        let (done, marked): (Vec<_>, Vec<_>) = part.iter().partition(|it| it.files.is_empty());
        session.set_status(&ids(&marked), Status::Deleting)?;
        self.removal.record(session, done)?;
        Ok(part)
    }

    /// Unlinks the archives, and syncs their directories.
    fn work(&mut self, part: &mut Vec<Self::Item>) -> Result<()> {
        let mut dirs = BTreeSet::new();
        for going in part.iter_mut().filter(|it| it.outcome.is_none()) {
            if self.removal.signals.caught().is_some() {
                break;
            }
            going.outcome = Some(unlink_all(&going.files));
            dirs.extend(going.files.iter().map(|file| dir_of(&file.path).to_owned()));
        }
        for dir in dirs {
            let Err(error) = sync_dir(&dir) else { continue };
            let is_in = |going: &&mut Self::Item| {
                let mut files = going.files.iter();
                going.outcome.is_some() && files.any(|file| dir_of(&file.path) == dir)
            };
            for going in part.iter_mut().filter(is_in) {
                going.outcome = Some(Err(anyhow::anyhow!("{error:#}")));
            }
        }
        Ok(())
    }

    fn record(&mut self, session: &Session<'_>, part: &mut [Self::Item]) -> Result<()> {
        let marked = part.iter().filter(|it| !it.files.is_empty());
        self.removal.record(session, marked.collect())
    }

    fn tell(&mut self, item: Self::Item) -> Result<()> {
        // Whoever reads what is told may be slow: nothing is held meanwhile.
        drop(item.files);
        match item.outcome {
            Some(outcome) => self.remover.tell(item.candidate, outcome),
            // A signal came first.
            None => Ok(()),
        }
    }
}

fn ids<T>(all: &[&Going<T>]) -> Vec<i64> {
    all.iter().map(|it| it.candidate.backup.id).collect()
}

impl Removal<'_> {
    /// Removes what is chosen, in parts, until nothing is left or a signal comes.
    ///
    /// # Errors
    /// As [`parts::run`].
    pub fn run(self, remover: &mut impl Remover) -> Result<()> {
        let (home, signals) = (self.home, self.signals);
        let removal = self;
        parts::run(home, signals, &mut Work { removal, remover })
    }

    /// The files of a backup, none where only its record goes.
    fn lock_files<T>(&self, candidate: &mut Candidate<T>) -> Result<Vec<Locked>> {
        if self.keep_file {
            return Ok(Vec::new());
        }
        match reach(self.home, &candidate.backup, lock) {
            Err(error) if self.offline && is_unreachable(&error) => {
                candidate.details.insert("offline".into(), true.into());
                Ok(Vec::new())
            }
            Err(error) if never_was_there(&candidate.backup, &error) => Ok(Vec::new()),
            files => files,
        }
    }

    /// Records what became of a part: rows that go, rows that stay as they were, and the ledger.
    /// What is unlinked, but perhaps not to last, stays `deleting`: the next session finishes it.
    fn record<T>(&self, session: &Session<'_>, part: Vec<&Going<T>>) -> Result<()> {
        let is_gone = |it: &&Going<T>| matches!(it.outcome, Some(Ok(_)));
        let (gone, stays): (Vec<_>, Vec<_>) = part.iter().partition(|it| is_gone(it));
        session.remove(&ids(&gone))?;
        for (_, status) in Status::ALL {
            let is_of = |it: &&Going<T>| it.candidate.backup.status == status && is_whole(it);
            let marked: Vec<_> = stays.iter().copied().filter(is_of).collect();
            session.set_status(&ids(&marked), status)?;
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
        let ok = outcome.is_ok();
        Some(Event::of(backup, self.event, ok, details.into()))
    }
}

/// Whether all that was to be removed is still there, or what came into its place, which no
/// recovery is to remove.
fn is_whole<T>(going: &Going<T>) -> bool {
    let stat = |file: &Locked| file.path.symlink_metadata();
    let is_there = |file: &Locked| !stat(file).is_err_and(|error| is_absent(&error));
    !going.files.is_empty() && going.files.iter().all(is_there)
}

/// Whether a living process is removing a backup whose row says so: it holds the archive, or
/// has just unlinked it. What it cannot tell, the removal will.
pub fn is_under_way(home: &Home, backup: &Backup) -> bool {
    match reach(home, backup, lock) {
        Ok(files) => files.is_empty(),
        Err(error) => io_error(&error).is_some_and(|it| it.kind() == ErrorKind::WouldBlock),
    }
}

/// The bytes that a removal would free.
///
/// # Errors
/// What is no regular file, a storage that is not there, and those of the file system.
pub fn would_free(home: &Home, backup: &Backup) -> Result<u64> {
    match reach(home, backup, size_bytes) {
        Err(error) if never_was_there(backup, &error) => Ok(0),
        bytes => Ok(bytes?.into_iter().sum()),
    }
}

/// Whether a removal failed as nobody can tell whether there is an archive.
pub fn is_unreachable(error: &Error) -> bool {
    // What is no answer of the system is ours: somebody is at work on it, or it is no file.
    unreachable(error).is_some() || io_error(error).is_some_and(|it| it.raw_os_error().is_some())
}

/// Whether an archive that a location alone has is not in a storage which is not there.
fn never_was_there(backup: &Backup, error: &Error) -> bool {
    let is_away = matches!(unreachable(error), Some(Unreachable::Storage { .. }));
    backup.remote().is_some() && is_away
}

/// As [`each_file`], where the storage is there: before the files are asked for, and after none
/// was found.
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
    for file in all {
        match file.unlink() {
            Ok(()) => freed_bytes += file.size_bytes,
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot remove '{}'", file.path.display()));
            }
        }
    }
    Ok(freed_bytes)
}
