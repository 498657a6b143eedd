//! Adopts: one reading of the catalog, then the archives, and now and then a session that records
//! what was read.
//!
//! The catalog is closed while archives are read. What is recorded is decided anew inside the
//! session that does it, so that two of this program adopt each archive once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow};
use bk_cli::home;
use bk_cli::output::Output;
use bk_cli::{Arguments, UsageError};
use bk_schema::clock;
use bk_schema::event::Event;
use bk_schema::record::{Backup, Status};
use bk_store::catalog;
use bk_store::session::Session;
use serde_json::json;

use crate::archive::{self, Archive};
use crate::done::{Action, Done};
use crate::find::{Found, Search};
use crate::flags::{DAMAGED, DRY_RUN, PROGRAM, RECURSIVE, RELINK};
use crate::plan::{Decision, Known};
use crate::relink;
use crate::work::{Work, by_inode, is_unfinished, log};

/// The whole program.
///
/// # Errors
/// Mistakes on the command line, a catalog that cannot be read or written.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let home = home::from_arguments(&PROGRAM, arguments, clock::now())?;
    let output = Output::new(arguments)?;
    check(arguments)?;
    let mut work = Work::new(&home, arguments.has(&DRY_RUN), output)?;
    let ended = match arguments.value(&RELINK) {
        Some(dir) => relink::relink(&mut work, dir),
        None => adopt(&mut work, arguments),
    };
    work.signals.release();
    let told = work.report.end();
    ended.and(told)?;
    Ok(work.signals.exit_status(work.report.status))
}

fn check(arguments: &Arguments) -> Result<()> {
    let usage = |text: &str| Err(UsageError(text.to_owned()).into());
    if arguments.operands.iter().any(|operand| operand == "-") {
        return usage("'-' is no path: archives are named on the command line, or looked for");
    }
    if arguments.has(&RELINK) && !arguments.operands.is_empty() {
        return usage("--relink DIR takes no further paths");
    }
    if arguments.has(&RELINK) && arguments.has(&DAMAGED) {
        return usage("--relink and --damaged exclude each other");
    }
    Ok(())
}

/// Looks for archives that are not known, reads them, oldest first, and records them.
fn adopt(work: &mut Work<'_>, arguments: &Arguments) -> Result<()> {
    let (rows, storage_dir) = if work.home.has_catalog() {
        catalog::read(work.home, |session| {
            Ok((session.backups()?, session.storage_dir()?))
        })?
    } else {
        (Vec::new(), work.home.archives())
    };
    let mut search = Search::default();
    for operand in &arguments.operands {
        search.operand(operand, arguments.has(&RECURSIVE));
    }
    if arguments.operands.is_empty() {
        let is_recursive = arguments.has(&RECURSIVE);
        search.below(&storage_dir, if is_recursive { usize::MAX } else { 1 });
    }
    work.report.add_all(search.failed.into_iter().map(Err))?;
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
                work.report
                    .add(&Done::new(Action::AlreadyKnown, backup.clone(), found.path))?;
            }
            Some(_) => {}
            None => unknown.push(found),
        }
    }
    // As far as their times tell, so that the ids of a catalog that is built again in several
    // parts follow the order of creation.
    unknown.sort_by(|a, b| (a.modified_at, &a.path).cmp(&(b.modified_at, &b.path)));
    let archives = read_and_record(work, &unknown, arguments.has(&DAMAGED))?;
    if work.is_dry {
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
        let plan = known.plan(archives).into_iter();
        work.report.add_all(plan.map(would))?;
    }
    Ok(())
}

/// Reads archives one after the other, each on all cores, until a signal comes; what was read
/// and not recorded is returned.
fn read_and_record(
    work: &mut Work<'_>,
    all: &[Found],
    wants_damaged: bool,
) -> Result<Vec<Archive>> {
    let (count, read_count) = (all.len(), Arc::new(AtomicUsize::new(0)));
    let shown = read_count.clone();
    let text = move || format!("{}/{count} archives", shown.load(Ordering::Relaxed));
    let bytes = all.iter().map(|found| found.bytes).sum();
    work.report.progress.begin(bytes, text);
    let mut archives = Vec::new();
    for found in all {
        if work.is_time_to_record(found.bytes) {
            record_read(work, &mut archives)?;
        }
        work.signals.hold();
        let read = archive::read(found, wants_damaged, &work.signals);
        if work.signals.caught().is_some() {
            archives.extend(read.ok());
            break;
        }
        match read {
            Ok(archive) => {
                for note in &archive.notes {
                    let note = format!("note: '{}': {note}", found.path);
                    work.report.progress.warn(&note);
                }
                archives.push(archive);
            }
            Err(error) => {
                let error = error.context(format!("cannot adopt '{}'", found.path));
                work.report.fail(&error);
            }
        }
        work.report.progress.add(found.bytes);
        read_count.fetch_add(1, Ordering::Relaxed);
    }
    if !work.is_dry {
        record_read(work, &mut archives)?;
    }
    Ok(archives)
}

fn record_read(work: &mut Work<'_>, archives: &mut Vec<Archive>) -> Result<()> {
    if archives.is_empty() {
        return Ok(());
    }
    let archives = std::mem::take(archives);
    work.record(|session| record(session, Known::new(session.backups()?).plan(archives)))
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
