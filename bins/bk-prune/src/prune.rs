//! The program: candidates from the catalog, a look at their archives, the decision, and then
//! lines or the removal.
//!
//! The catalog is closed before the first archive is looked at and the first line printed.

use std::collections::HashSet;

use anyhow::Result;
use bk_schema::catalog;
use bk_schema::cli::{self, Arguments};
use bk_schema::home::{self, Home};
use bk_schema::notices::Notices;
use bk_schema::operands::{self, Without};
use bk_schema::output::Output;
use bk_schema::record::Backup;
use bk_schema::signals::{SIGNALLED, Signals};
use bk_schema::storage::Unreachable;
use bk_schema::units::human_size;
use serde_json::{Map, Value};

use crate::archives;
use crate::caps::FreeBytes;
use crate::flags::PROGRAM;
use crate::policy::Policy;
use crate::removal::{Done, Plan};
use crate::report::Report;
use crate::retention::{self, Action, Archive, Candidate, Decision, Verdict};

/// A candidate, and the line that it came by.
pub(crate) struct Item {
    pub(crate) backup: Backup,
    pub(crate) line: Map<String, Value>,
    pub(crate) archive: Option<Archive>,
    /// Why nobody can tell whether there is one.
    unreachable: Option<Unreachable>,
}

/// The whole program.
///
/// # Errors
/// Mistakes on the command line, bad input, a catalog that cannot be read or written.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let mut notices = Notices::new(&PROGRAM, arguments);
    let pruned = prune(arguments, &mut notices);
    notices.tell_error(pruned)
}

fn prune(arguments: &Arguments, notices: &mut Notices) -> Result<u8> {
    let now = home::now();
    let home = Home::new(&PROGRAM, arguments, now)?;
    let output = Output::new(arguments)?;
    let policy = Policy::new(arguments)?;
    let (is_trial, explains) = (arguments.has("dry-run"), arguments.has("explain"));
    let (items, status) = candidates(&home, arguments)?;
    let free = match policy.caps.free_bytes {
        Some(_) => archives::free(items.iter().map(|it| (&it.backup, it.archive)))?,
        None => FreeBytes::new(),
    };
    let all: Vec<_> = items.iter().map(Item::candidate).collect();
    let mut verdict = retention::decide(&all, &policy, &free, now);
    let status = status.max(leave_unreachable(&home, &items, &mut verdict.decisions));
    for name in &verdict.unmet {
        PROGRAM.warn(&format!(
            "warning: --{name} cannot be met: what is left may not be removed"
        ));
    }
    let report = Report::new(&home, output, &policy);
    if is_trial || explains {
        tell(report, items, verdict, explains)?;
        return Ok(status);
    }
    let decided: Vec<_> = items.into_iter().zip(verdict.decisions).collect();
    let all = decided.len();
    let is_table = report.is_table();
    let signals = Signals::watch()?;
    let plan = Plan::new(&policy, free, now, decided.into_iter(), report, notices);
    let done = plan.run(&home, &signals)?;
    Ok(end(all, is_table, &signals, &done, status))
}

impl Item {
    pub(crate) fn candidate(&self) -> Candidate<'_> {
        Candidate {
            backup: &self.backup,
            archive: self.archive,
        }
    }
}

/// Each once, and the exit status that the others mean.
fn candidates(home: &Home, arguments: &Arguments) -> Result<(Vec<Item>, u8)> {
    let found: Vec<catalog::Found> = match operands::given(arguments, Without::Catalog)? {
        Some(lines) => catalog::look_up(home, lines)?,
        None => {
            let rows = catalog::read(home, |session| session.backups())?;
            rows.into_iter().map(|row| Ok((row?, Map::new()))).collect()
        }
    };
    let mut status = cli::DONE;
    let (mut items, mut seen) = (Vec::new(), HashSet::new());
    for one in found {
        match one {
            Ok((backup, line)) => {
                if retention::is_candidate(&backup) && seen.insert(backup.id) {
                    let looked = archives::look(home, &backup);
                    let unreachable = looked.as_ref().err().cloned();
                    items.push(Item {
                        backup,
                        line,
                        archive: looked.ok().flatten(),
                        unreachable,
                    });
                }
            }
            Err(error) => status = PROGRAM.report(&error),
        }
    }
    Ok((items, status))
}

/// What cannot be reached is not gone: it is judged as what is missing, and stays. The exit status
/// that this means.
fn leave_unreachable(home: &Home, items: &[Item], decisions: &mut [Decision]) -> u8 {
    let mut status = cli::DONE;
    for (item, decision) in items.iter().zip(decisions) {
        if let Some(unreachable) = &item.unreachable
            && decision.action == Action::Remove
        {
            decision.action = Action::Keep;
            decision.reasons = vec!["offline".to_owned()];
            home.storages.tell_unreachable(unreachable);
            status = cli::SOME_FAILED;
        }
    }
    status
}

/// Prints what would go, or with `explains` all.
fn tell(mut report: Report<'_>, items: Vec<Item>, verdict: Verdict, explains: bool) -> Result<()> {
    let (mut count, mut bytes, all) = (0_usize, 0, items.len());
    for (item, decision) in items.into_iter().zip(verdict.decisions) {
        let goes = decision.action == Action::Remove;
        if goes {
            count += 1;
            bytes += item.backup.backup_size.map_or(0, i64::unsigned_abs);
        }
        if goes || explains {
            report.add(item.backup, item.line, &decision, None)?;
        }
    }
    report.end()?;
    if report.is_table() {
        let size = human_size(bytes);
        PROGRAM.warn(&format!("would remove {count} of {all}, {size}"));
    }
    Ok(())
}

/// The summary, and the exit status.
fn end(all: usize, is_table: bool, signals: &Signals, done: &Done, status: u8) -> u8 {
    if done.count > 0 || is_table {
        let size = human_size(done.freed_bytes);
        let missing = match done.missing_count {
            0 => String::new(),
            count => format!("; the archives of {count} were missing"),
        };
        PROGRAM.warn(&format!(
            "removed {} of {all}, freed {size}{missing}",
            done.count
        ));
    }
    match signals.caught() {
        Some(signal) => SIGNALLED + signal,
        None => status.max(done.status),
    }
}
