//! Adopts: one reading of the catalog, then the archives, and now and then a session that records
//! what was read.
//!
//! The catalog is closed while archives are read. What is recorded is decided anew inside the
//! session that does it, so that two of this program adopt each archive once.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bk_schema::catalog::{self, Event, Session};
use bk_schema::cli::{Arguments, UsageError};
use bk_schema::clock;
use bk_schema::home::Home;
use bk_schema::output::Output;
use bk_schema::record::{Backup, Status};
use bk_schema::rows::BadRow;
use bk_schema::signals::{SIGNALLED, Signals};
use serde_json::json;

use crate::archive::{self, Archive};
use crate::done::{Action, Done, Report};
use crate::find::{Found, Inode, Search};
use crate::flags::PROGRAM;
use crate::plan::{Decision, Known};
use crate::relink;

/// The records as they are in the catalog.
pub(crate) type Rows = Vec<Result<Backup, BadRow>>;

/// What was read is recorded and told together, at least so often.
const RECORD_EVERY: Duration = Duration::from_secs(2);
/// Before a larger archive is read, what came before it is recorded and told.
const LARGE_BYTES: u64 = 64 << 20;

/// The whole program.
///
/// # Errors
/// Mistakes on the command line, a catalog that cannot be read or written.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let home = Home::new(&PROGRAM, arguments, clock::now())?;
    let output = Output::new(arguments)?;
    check(arguments)?;
    let mut work = Work {
        home: &home,
        is_dry: arguments.has("dry-run"),
        signals: Signals::watch()?,
        report: Report::new(&home, output),
        recorded_at: Instant::now(),
    };
    let ended = match arguments.value("relink") {
        Some(dir) => relink::relink(&mut work, dir),
        None => adopt(&mut work, arguments),
    };
    work.signals.release();
    let told = work.report.end();
    ended.and(told)?;
    Ok(match work.signals.caught() {
        Some(signal) => SIGNALLED + signal,
        None => work.report.status,
    })
}

/// What adoption and relinking share: archives are read one after the other, and now and then
/// what was found is recorded and told.
pub(crate) struct Work<'a> {
    pub(crate) home: &'a Home,
    pub(crate) is_dry: bool,
    pub(crate) signals: Signals,
    pub(crate) report: Report,
    recorded_at: Instant,
}

impl Work<'_> {
    /// Whether what was found is to be recorded before an archive of so many bytes is read.
    pub(crate) fn is_time_to_record(&self, next_bytes: u64) -> bool {
        !self.is_dry && (next_bytes > LARGE_BYTES || self.recorded_at.elapsed() >= RECORD_EVERY)
    }

    /// Records in one session, then tells.
    ///
    /// # Errors
    /// Those of the catalog and of the output.
    pub(crate) fn record(
        &mut self,
        record: impl FnOnce(&Session<'_>) -> Result<Vec<Result<Done>>>,
    ) -> Result<()> {
        if self.signals.caught().is_none() {
            // It ends the wait for the catalog.
            self.signals.release();
        }
        let all = catalog::write(self.home, |session| {
            self.signals.hold();
            record(session)
        });
        self.recorded_at = Instant::now();
        self.report.add_all(all?)
    }
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
        search.operand(operand, arguments.has("recursive"));
    }
    if arguments.operands.is_empty() {
        let is_recursive = arguments.has("recursive");
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
    let archives = read_and_record(work, &unknown, arguments.has("damaged"))?;
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
