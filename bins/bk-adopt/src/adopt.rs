//! Adopts: reads the catalog once, then the archives, and now and then records what was read.
//!
//! The catalog is closed while archives are read. The decision is made again in the session that
//! records it, so that two processes adopt each archive once.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow};
use bk_cli::{Arguments, Output, UsageError};
use bk_schema::record::{Backup, Status};
use bk_store::{Home, Session, catalog};

use crate::archive::{self, Archive};
use crate::find::{Candidate, Search};
use crate::flags::{DAMAGED, DRY_RUN, RECURSIVE, RELINK};
use crate::plan::{Decision, Index};
use crate::relink;
use crate::work::{Action, Outcome, Work, by_inode, is_unfinished, log};

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    check(arguments)?;
    let mut work = Work::new(&home, arguments.has(&DRY_RUN), output)?;
    let ended = match arguments.value(&RELINK) {
        Some(dir) => relink::relink(&mut work, dir),
        None => adopt(&mut work, arguments),
    };
    work.signals.release();
    let printed = work.end();
    ended.and(printed)?;
    Ok(work.signals.exit_status(work.status))
}

fn check(arguments: &Arguments) -> Result<()> {
    let usage = |text: &str| Err(UsageError(text.to_owned()).into());
    if arguments.operands.iter().any(|operand| operand == "-") {
        return usage(
            "'-' is not a path: name archives on the command line, or a directory with -r",
        );
    }
    if arguments.has(&RELINK) && !arguments.operands.is_empty() {
        return usage("--relink DIR takes no further paths");
    }
    arguments.one_of(&[(RELINK, ()), (DAMAGED, ())])?;
    Ok(())
}

/// Finds archives that the catalog does not have, reads them, oldest first, and records them.
fn adopt(work: &mut Work<'_>, arguments: &Arguments) -> Result<()> {
    let (mut rows, storage_dir) = if work.home.has_catalog() {
        catalog::read(work.home, |session| {
            Ok((session.backups()?, session.storage_dir()?))
        })?
    } else {
        (Vec::new(), work.home.archives())
    };
    let is_recursive = arguments.has(&RECURSIVE);
    let mut search = Search::default();
    for operand in &arguments.operands {
        search.operand(operand, is_recursive);
    }
    if arguments.operands.is_empty() {
        search.below(&storage_dir, if is_recursive { usize::MAX } else { 1 });
    }
    work.add_all(search.failed.into_iter().map(Err))?;
    let known = by_inode(&rows);
    let mut unknown = Vec::new();
    for mut found in search.found {
        match known.get(&found.inode) {
            // The path of the record, by which it is found again.
            Some(backup) if is_unfinished(backup) => {
                found.path.clone_from(&backup.backup_path);
                unknown.push(found);
            }
            Some(backup) if found.is_named => {
                let backup = backup.clone();
                work.add(&Outcome::new(Action::AlreadyKnown, backup, found.path))?;
            }
            Some(_) => {}
            None => unknown.push(found),
        }
    }
    // So that the ids of a catalog that is built again in several parts follow the order of
    // creation, as far as it can be seen from the files.
    unknown.sort_by(|a, b| (a.modified_at, &a.path).cmp(&(b.modified_at, &b.path)));
    let archives = read_and_record(work, &unknown, arguments.has(&DAMAGED))?;
    if work.is_dry {
        // An abandoned creation: the next write session makes it `failed`.
        for backup in rows.iter_mut().flatten() {
            if backup.status == Status::Creating {
                backup.status = Status::Failed;
            }
        }
        let plan = Index::new(rows).plan(archives).into_iter();
        work.add_all(plan.map(would))?;
    }
    Ok(())
}

/// Reads archives one after the other, each on all cores, until a signal comes; returns what was
/// read but not recorded.
fn read_and_record(
    work: &mut Work<'_>,
    all: &[Candidate],
    wants_damaged: bool,
) -> Result<Vec<Archive>> {
    let bytes = all.iter().map(|found| found.bytes).sum();
    let progress = &work.progress;
    progress.begin_counting(bytes, all.len() as u64, "archives");
    let mut archives = Vec::new();
    let home = (!work.is_dry).then(|| work.home.clone());
    for found in all {
        if work.is_time_to_record(found.bytes) {
            record_read(work, &mut archives)?;
        }
        work.signals.hold();
        let read = archive::read(home.as_ref(), found, wants_damaged, &work.signals);
        if work.signals.caught().is_some() {
            archives.extend(read.ok());
            break;
        }
        match read {
            Ok(archive) => {
                for note in &archive.notes {
                    let note = format!("note: '{}': {note}", found.path);
                    work.progress.warn(&note);
                }
                archives.push(archive);
            }
            Err(error) => work.fail(&error.context(format!("cannot adopt '{}'", found.path))),
        }
        work.progress.add(found.bytes);
        work.progress.count();
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
    work.record(|session| record(session, Index::new(session.backups()?).plan(archives)))
}

fn would((path, decision): (String, Decision)) -> Result<Outcome> {
    let (action, record) = match decision {
        Decision::Adopt { record, .. } => (Action::WouldAdopt, record),
        Decision::Complete(record) => (Action::WouldComplete, record),
        Decision::AlreadyKnown(record) => (Action::AlreadyKnown, record),
        Decision::Busy(record) => return Err(busy(&path, &record)),
    };
    Ok(Outcome::new(action, record, path))
}

fn busy(path: &str, record: &Backup) -> anyhow::Error {
    let obstacle = record.status.obstacle().unwrap_or_default();
    let name = &record.backup_name;
    anyhow!("cannot adopt '{path}', the archive of '{name}': {obstacle}")
}

/// Carries out what was decided.
fn record(session: &Session<'_>, plan: Vec<(String, Decision)>) -> Result<Vec<Result<Outcome>>> {
    let mut adopted = HashMap::new();
    let mut all = Vec::new();
    for (path, decision) in plan {
        let outcome = match decision {
            Decision::Adopt { record, replaced } => {
                if let Some((id, name)) = replaced {
                    // Two records of one path would be removed together with its archive.
                    let reason = "a failed attempt, replaced by the archive at its path";
                    session.remove_attempt(id, &name, reason)?;
                }
                let record = session.insert(&record);
                let record = record.with_context(|| format!("cannot adopt '{path}'"))?;
                adopted.insert(record.backup_name.clone(), record.clone());
                Outcome::new(Action::Adopted, record, path)
            }
            Decision::Complete(record) => {
                session.update(&record)?;
                Outcome::new(Action::Completed, record, path)
            }
            Decision::AlreadyKnown(record) => {
                let record = adopted.get(&record.backup_name).cloned().unwrap_or(record);
                Outcome::new(Action::AlreadyKnown, record, path)
            }
            Decision::Busy(record) => {
                all.push(Err(busy(&path, &record)));
                continue;
            }
        };
        if outcome.action != Action::AlreadyKnown {
            log(session, &outcome)?;
        }
        all.push(Ok(outcome));
    }
    Ok(all)
}
