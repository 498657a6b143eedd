//! Finds archives that are missing, by size and hash, and makes their records point to them.
//!
//! The catalog is closed while files are looked at and hashed; each record is read again in the
//! session that changes it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use bk_schema::catalog::{self, Session};
use bk_schema::home::Home;
use bk_schema::lines::Identity;
use bk_schema::record::{Backup, Status};
use bk_schema::storage::Unreachable;
use sha2::{Digest, Sha256};

use crate::adopt::{self, Rows, by_inode};
use crate::done::{Action, Done};
use crate::find::{self, Found, Search};

/// A record, and where its archive is.
struct Match {
    backup: Backup,
    path: String,
}

/// Each record whose archive is missing, as it ended, and what could not be looked at.
///
/// # Errors
/// A directory that cannot be found, a catalog that cannot be read or written.
pub(crate) fn relink(home: &Home, dir: &OsStr, is_dry: bool) -> Result<Vec<Result<Done>>> {
    let rows = catalog::read(home, |session| session.backups())?;
    let shown = dir.display();
    let dir = find::absolute(Path::new(dir));
    let dir = dir.with_context(|| format!("cannot look in '{shown}'"))?;
    let (mut missing, failed) = missing(home, &rows);
    let mut all: Vec<Result<Done>> = failed.into_iter().map(Err).collect();
    if missing.is_empty() {
        return Ok(all);
    }
    let mut search = Search::default();
    search.below(&dir, usize::MAX);
    all.extend(search.failed.into_iter().map(Err));
    let (matches, failed) = match_all(&mut missing, &rows, search.found);
    all.extend(failed.into_iter().map(Err));
    if is_dry {
        all.extend(
            matches
                .into_iter()
                .map(|it| Ok(done(it, Action::WouldRelink))),
        );
    } else if !matches.is_empty() {
        all.extend(catalog::write(home, |session| record(session, matches))?);
    }
    all.extend(missing.into_iter().map(|backup| {
        let name = backup.backup_name;
        Err(anyhow!(
            "cannot relink '{name}': '{}' has no archive of its size and hash",
            dir.display()
        ))
    }));
    Ok(all)
}

/// The records whose archive is missing, or whose storage is not there and may be elsewhere now,
/// oldest first; an error for each that cannot be looked at.
fn missing(home: &Home, rows: &Rows) -> (Vec<Backup>, Vec<anyhow::Error>) {
    let (mut missing, mut failed) = (Vec::new(), Vec::new());
    for backup in rows.iter().flatten() {
        if backup.status != Status::Completed {
            continue;
        }
        match home.storages.stat(backup.backup_path.as_ref()) {
            Ok(Some(metadata)) if metadata.is_file() => {}
            Ok(_) | Err(Unreachable::Storage { .. }) => missing.push(backup.clone()),
            Err(error) => {
                let what = format!("cannot relink '{}'", backup.backup_name);
                failed.push(anyhow::Error::from(error).context(what));
            }
        }
    }
    (missing, failed)
}

/// Takes out of the missing ones those that were found. A file that a record points to is
/// none's to take, nor is one that is taken already.
fn match_all(
    missing: &mut Vec<Backup>,
    rows: &Rows,
    found: Vec<Found>,
) -> (Vec<Match>, Vec<anyhow::Error>) {
    let known = by_inode(rows);
    let (mut matches, mut failed) = (Vec::new(), Vec::new());
    for candidate in found {
        let has_size =
            |it: &Backup| it.backup_size.map(i64::cast_unsigned) == Some(candidate.bytes);
        if known.contains_key(&candidate.inode) || !missing.iter().any(has_size) {
            continue;
        }
        let hash = match hash(&candidate.path) {
            Ok(hash) => hash,
            Err(error) => {
                failed.push(error.context(format!("cannot read '{}'", candidate.path)));
                continue;
            }
        };
        let is_it = |it: &Backup| has_size(it) && it.backup_hash.as_ref() == Some(&hash);
        if let Some(at) = missing.iter().position(is_it) {
            matches.push(Match {
                backup: missing.remove(at),
                path: candidate.path,
            });
        }
    }
    matches.sort_by_key(|it| (it.backup.created_at, it.backup.id));
    (matches, failed)
}

fn hash(path: &str) -> Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut find::open(Path::new(path))?, &mut hash)?;
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn record(session: &Session<'_>, matches: Vec<Match>) -> Result<Vec<Result<Done>>> {
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
                let done = done(Match { backup, ..found }, Action::Relinked);
                session.update(&done.record)?;
                adopt::log(session, &done)?;
                all.push(Ok(done));
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
    }
}

fn done(found: Match, action: Action) -> Done {
    let mut record = found.backup;
    let was = std::mem::replace(&mut record.backup_path, found.path.clone());
    Done {
        was: Some(was),
        ..Done::new(action, record, found.path)
    }
}
