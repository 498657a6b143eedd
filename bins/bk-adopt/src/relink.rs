//! Finds missing archives, by size and hash, and updates the paths in their records.
//!
//! The catalog is closed while files are hashed; each record is read again in the session that
//! changes it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use bk_archive::hashed;
use bk_schema::lines::Identity;
use bk_schema::record::{Backup, Status};
use bk_store::archives::distinct::prove_apart;
use bk_store::storage::Unreachable;
use bk_store::{Home, Session, Signals, catalog};

use crate::find::{self, Candidate, Search};
use crate::work::{Action, Outcome, Rows, Work, by_inode, log};

/// A record, and the path of its archive.
struct Match {
    backup: Backup,
    path: String,
}

/// The size of an archive, and its hash.
type Content = (u64, String);

/// The archives of completed records.
#[derive(Default)]
struct Archives {
    /// The records whose archive is missing, oldest first.
    missing: BTreeMap<Content, VecDeque<Backup>>,
    /// The paths of those that are there or were found.
    present: HashMap<Content, Vec<String>>,
}

/// Relinks each record whose archive is missing.
///
/// # Errors
/// A directory that does not exist, a catalog that cannot be opened.
pub(crate) fn relink(work: &mut Work<'_>, dir: &OsStr) -> Result<()> {
    let rows = catalog::read(work.home, |session| session.backups())?;
    let shown = dir.display();
    let dir = find::absolute(Path::new(dir));
    let dir = dir.with_context(|| format!("cannot read '{shown}'"))?;
    let (mut archives, failed) = Archives::of(work.home, &rows);
    work.add_all(failed.into_iter().map(Err))?;
    if archives.missing.is_empty() {
        return Ok(());
    }
    let mut search = Search::default();
    search.below(&dir, usize::MAX);
    work.add_all(search.failed.into_iter().map(Err))?;
    let known = by_inode(&rows);
    let mut matches = Vec::new();
    for candidate in search.found {
        if known.contains_key(&candidate.inode) {
            continue;
        }
        if work.is_time_to_record(candidate.bytes) {
            record_found(work, &mut matches)?;
        }
        work.signals.hold();
        let found = archives.match_one(&candidate, &work.signals);
        if work.signals.caught().is_some() {
            break;
        }
        match found {
            Ok(found) => matches.extend(found),
            Err(error) => work.fail(&error),
        }
    }
    record_found(work, &mut matches)?;
    if work.signals.caught().is_none() {
        let left = archives.missing().into_iter().map(|backup| {
            let name = backup.backup_name;
            Err(anyhow!(
                "cannot relink '{name}': '{}' has no archive of its size and hash",
                dir.display()
            ))
        });
        work.add_all(left)?;
    }
    Ok(())
}

fn record_found(work: &mut Work<'_>, matches: &mut Vec<Match>) -> Result<()> {
    let mut matches = std::mem::take(matches);
    matches.sort_by_key(|it| (it.backup.created_at, it.backup.id));
    if matches.is_empty() {
        return Ok(());
    }
    if work.is_dry {
        let would = |it| Ok(relinked(it, Action::WouldRelink));
        return work.add_all(matches.into_iter().map(would));
    }
    work.record(|session| record(session, matches))
}

impl Archives {
    /// With an error for each that cannot be checked. Those of an offline storage may be elsewhere
    /// now.
    fn of(home: &Home, rows: &Rows) -> (Self, Vec<anyhow::Error>) {
        let (mut archives, mut failed) = (Self::default(), Vec::new());
        for backup in rows.iter().flatten() {
            let (Status::Completed, Some(content)) = (backup.status, content(backup)) else {
                continue;
            };
            match home.storages.stat(backup.backup_path.as_ref()) {
                Ok(Some(metadata)) if metadata.is_file() => {
                    let same = archives.present.entry(content).or_default();
                    same.push(backup.backup_path.clone());
                }
                Ok(_) | Err(Unreachable::Storage { .. }) => {
                    let same = archives.missing.entry(content).or_default();
                    same.push_back(backup.clone());
                }
                Err(error) => {
                    let what = format!("cannot relink '{}'", backup.backup_name);
                    failed.push(anyhow::Error::from(error).context(what));
                }
            }
        }
        (archives, failed)
    }

    /// The record that a file is the missing archive of.
    ///
    /// # Errors
    /// A file that may be the archive of another record by another path: it would be removed with
    /// either.
    fn match_one(&mut self, candidate: &Candidate, signals: &Signals) -> Result<Option<Match>> {
        let (bytes, path) = (candidate.bytes, &candidate.path);
        let from_size = self.missing.range((bytes, String::new())..);
        if from_size.map(|((next, _), _)| next).next() != Some(&bytes) {
            return Ok(None);
        }
        let cannot = || format!("cannot read '{path}'");
        let file = find::open(Path::new(path)).with_context(cannot)?;
        let whole = hashed::whole(&file, &mut |_| signals.caught().is_none());
        let Some(whole) = whole.with_context(cannot)? else {
            return Ok(None);
        };
        let Entry::Occupied(mut missing) = self.missing.entry((bytes, whole.hash)) else {
            return Ok(None);
        };
        let present = self.present.entry(missing.key().clone()).or_default();
        let name = |path: &str| Path::new(path).file_name().map(OsStr::to_ascii_lowercase);
        for other in present.iter() {
            if name(other) == name(path) {
                let apart = prove_apart(Path::new(path), Path::new(other));
                apart.with_context(|| format!("cannot take '{path}': it may be '{other}'"))?;
            }
        }
        let backup = missing.get_mut().pop_front();
        if missing.get().is_empty() {
            missing.remove();
        }
        present.push(path.clone());
        Ok(backup.map(|backup| Match {
            backup,
            path: path.clone(),
        }))
    }

    /// The records whose archive was not found, oldest first.
    fn missing(self) -> Vec<Backup> {
        let mut missing: Vec<_> = self.missing.into_values().flatten().collect();
        missing.sort_by_key(|backup| (backup.created_at, backup.id));
        missing
    }
}

fn content(backup: &Backup) -> Option<Content> {
    backup.backup_size.zip(backup.backup_hash.clone())
}

fn record(session: &Session<'_>, matches: Vec<Match>) -> Result<Vec<Result<Outcome>>> {
    let wanted: Vec<_> = matches.iter().map(|it| identity(&it.backup)).collect();
    let current = session.find(&wanted)?;
    let others = session.backups()?;
    let others = others.into_iter().flatten();
    let others: HashSet<String> = others.map(|it| it.backup_path).collect();
    let mut all = Vec::new();
    for (found, current) in matches.into_iter().zip(current) {
        let name = found.backup.backup_name.clone();
        let current = current.and_then(|current| {
            let facts = |it: &Backup| (it.status, it.backup_path.clone(), it.backup_hash.clone());
            ensure!(
                facts(&current) == facts(&found.backup),
                "it was changed in the meantime; try again"
            );
            let is_free = !others.contains(&found.path);
            ensure!(is_free, "'{}' was adopted in the meantime", found.path);
            Ok(current)
        });
        match current {
            Ok(backup) => {
                let outcome = relinked(Match { backup, ..found }, Action::Relinked);
                session.update(&outcome.record)?;
                log(session, &outcome)?;
                all.push(Ok(outcome));
            }
            Err(error) => all.push(Err(error.context(format!("cannot relink '{name}'")))),
        }
    }
    Ok(all)
}

fn identity(backup: &Backup) -> Identity {
    Identity {
        id: Some(backup.id),
        name: Some(backup.backup_name.clone()),
        held: None,
    }
}

fn relinked(found: Match, action: Action) -> Outcome {
    let mut record = found.backup;
    let was = std::mem::replace(&mut record.backup_path, found.path.clone());
    Outcome {
        was: Some(was),
        ..Outcome::new(action, record, found.path)
    }
}
