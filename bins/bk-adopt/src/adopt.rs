//! Adopts: one reading of the catalog, then the archives, then one session that records all.
//!
//! The catalog is closed while archives are read. What is recorded is decided anew inside the
//! session that does it, so that two of this program adopt each archive once.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow};
use bk_schema::catalog::{self, Event, Session};
use bk_schema::cli::{self, Arguments, UsageError};
use bk_schema::home::{self, Home};
use bk_schema::output::Output;
use bk_schema::progress::Progress;
use bk_schema::record::{Backup, Status};
use bk_schema::rows::BadRow;
use serde_json::json;

use crate::archive::{self, Archive};
use crate::done::{self, Action, Done};
use crate::find::{Found, Inode, Search};
use crate::flags::PROGRAM;
use crate::plan::{Decision, Known};
use crate::relink;

/// The records as they are in the catalog.
pub(crate) type Rows = Vec<Result<Backup, BadRow>>;

/// The whole program.
///
/// # Errors
/// Mistakes on the command line, a catalog that cannot be read or written.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let home = Home::new(&PROGRAM, arguments, home::now())?;
    let mut output = Output::new(arguments)?;
    check(arguments)?;
    let all = match arguments.value("relink") {
        Some(dir) => relink::relink(&home, dir, arguments.has("dry-run"))?,
        None => adopt(&home, arguments)?,
    };
    let mut status = cli::DONE;
    let mut done = Vec::new();
    for one in all {
        match one {
            Ok(one) => done.push(one),
            Err(error) => status = PROGRAM.report(&error),
        }
    }
    done::print(&home, &mut output, &done)?;
    Ok(status)
}

fn check(arguments: &Arguments) -> Result<()> {
    let usage = |text: &str| Err(UsageError(text.to_owned()).into());
    if arguments.operands.iter().any(|operand| operand == "-") {
        return usage("'-' is no path: archives are named on the command line, or looked for");
    }
    if arguments.has("relink") && !arguments.operands.is_empty() {
        return usage("--relink DIR takes no further paths");
    }
    if arguments.has("relink") && arguments.has("damaged") {
        return usage("--relink and --damaged exclude each other");
    }
    Ok(())
}

/// Each that was looked at, as it ended.
fn adopt(home: &Home, arguments: &Arguments) -> Result<Vec<Result<Done>>> {
    let (rows, storage_dir) = if home.has_catalog() {
        catalog::read(home, |session| {
            Ok((session.backups()?, session.storage_dir()?))
        })?
    } else {
        (Vec::new(), home.archives())
    };
    let mut search = Search::default();
    for operand in &arguments.operands {
        search.operand(operand, arguments.has("recursive"));
    }
    if arguments.operands.is_empty() {
        let is_recursive = arguments.has("recursive");
        search.below(&storage_dir, if is_recursive { usize::MAX } else { 1 });
    }
    let mut all: Vec<Result<Done>> = search.failed.into_iter().map(Err).collect();
    let known = by_inode(&rows);
    let mut unknown = Vec::new();
    for mut found in search.found {
        match known.get(&found.inode) {
            // As the record has it, by which it is known again.
            Some(backup) if is_unfinished(backup) => {
                found.path.clone_from(&backup.backup_path);
                unknown.push(found);
            }
            Some(backup) if found.is_named => {
                all.push(Ok(Done::new(
                    Action::AlreadyKnown,
                    backup.clone(),
                    found.path,
                )));
            }
            Some(_) => {}
            None => unknown.push(found),
        }
    }
    let (archives, failed) = read(&unknown, arguments.has("damaged"));
    all.extend(failed.into_iter().map(Err));
    if archives.is_empty() {
        return Ok(all);
    }
    if arguments.has("dry-run") {
        // A creation whose archive nobody holds a lock on is dead: the next session fails it.
        let recovered = rows.into_iter().map(|row| {
            row.map(|backup| match backup.status {
                Status::Creating => Backup {
                    status: Status::Failed,
                    ..backup
                },
                _ => backup,
            })
        });
        let known = Known::new(recovered.collect());
        all.extend(known.plan(archives).into_iter().map(would));
    } else {
        all.extend(catalog::write(home, |session| {
            record(session, Known::new(session.backups()?).plan(archives))
        })?);
    }
    Ok(all)
}

/// Its archive may be whole all the same.
fn is_unfinished(backup: &Backup) -> bool {
    matches!(backup.status, Status::Creating | Status::Failed)
}

/// The records by the files that they point to. A record whose archive is whole comes before
/// one that has none.
pub(crate) fn by_inode(rows: &Rows) -> HashMap<Inode, Backup> {
    let mut known = HashMap::new();
    for backup in rows.iter().flatten() {
        if let Ok(file) = std::fs::metadata(&backup.backup_path) {
            let inode = (file.dev(), file.ino());
            if !is_unfinished(backup) || !known.contains_key(&inode) {
                known.insert(inode, backup.clone());
            }
        }
    }
    known
}

/// Reads all archives, one after the other, each on all cores.
fn read(all: &[Found], wants_damaged: bool) -> (Vec<Archive>, Vec<anyhow::Error>) {
    let count = all.len();
    let read_count = Arc::new(AtomicUsize::new(0));
    let shown = read_count.clone();
    let progress = Progress::new(&PROGRAM);
    let text = move || format!("{}/{count} archives", shown.load(Ordering::Relaxed));
    progress.begin(all.iter().map(|found| found.bytes).sum(), text);
    let (mut archives, mut failed) = (Vec::new(), Vec::new());
    for found in all {
        match archive::read(found, wants_damaged) {
            Ok(archive) => archives.push(archive),
            Err(error) => failed.push(error.context(format!("cannot adopt '{}'", found.path))),
        }
        progress.add(found.bytes);
        read_count.fetch_add(1, Ordering::Relaxed);
    }
    progress.end();
    (archives, failed)
}

fn would((path, decision): (String, Decision)) -> Result<Done> {
    let (action, record) = match decision {
        Decision::Adopt { record, .. } => (Action::WouldAdopt, record),
        Decision::Complete(record) => (Action::WouldComplete, record),
        Decision::Known(record) => (Action::AlreadyKnown, record),
        Decision::Busy(record) => return Err(busy(&path, &record)),
    };
    Ok(Done::new(action, record, path))
}

fn busy(path: &str, record: &Backup) -> anyhow::Error {
    let (name, status) = (&record.backup_name, record.status.name());
    anyhow!("cannot adopt '{path}': somebody is at work on it: its record '{name}' is {status}")
}

/// Does what was decided.
fn record(session: &Session<'_>, plan: Vec<(String, Decision)>) -> Result<Vec<Result<Done>>> {
    let mut adopted = HashMap::new();
    let mut all = Vec::new();
    for (path, decision) in plan {
        let done = match decision {
            Decision::Adopt { record, replaced } => {
                if let Some((id, name)) = replaced {
                    give_up(session, id, &name)?;
                }
                let record = session.insert(&record);
                let record = record.with_context(|| format!("cannot adopt '{path}'"))?;
                adopted.insert(record.backup_name.clone(), record.clone());
                Done::new(Action::Adopted, record, path)
            }
            Decision::Complete(record) => {
                session.update(&record)?;
                Done::new(Action::Completed, record, path)
            }
            Decision::Known(record) => {
                let record = adopted.get(&record.backup_name).cloned().unwrap_or(record);
                Done::new(Action::AlreadyKnown, record, path)
            }
            Decision::Busy(record) => {
                all.push(Err(busy(&path, &record)));
                continue;
            }
        };
        if done.action != Action::AlreadyKnown {
            log(session, &done)?;
        }
        all.push(Ok(done));
    }
    Ok(all)
}

pub(crate) fn log(session: &Session<'_>, done: &Done) -> Result<()> {
    session.log(&Event {
        backup: Some((done.record.id, &done.record.backup_name)),
        event: "adopt",
        ok: true,
        details: done.details(),
    })
}

/// Two records of one path would be removed with one archive. The ledger keeps the attempt.
fn give_up(session: &Session<'_>, id: i64, name: &str) -> Result<()> {
    session.remove(&[id])?;
    session.log(&Event {
        backup: Some((id, name)),
        event: "remove",
        ok: true,
        details: json!({ "reason": "a failed attempt, replaced by the archive at its path" }),
    })
}
