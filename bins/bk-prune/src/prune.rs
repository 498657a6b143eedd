//! The program: candidates from the catalog, the state of their archives, the decision, and then
//! lines or the removal.
//!
//! The catalog is closed before the first archive is inspected and the first line printed.

use std::collections::HashSet;
use std::collections::btree_map::Entry;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, bail};
use bk_cli::notices::{Fields, Notices};
use bk_cli::units::human_size;
use bk_cli::{Arguments, Output, UsageError, copies, operands, unread};
use bk_schema::clock::{self, Jump};
use bk_schema::host::Host;
use bk_schema::lines::Line;
use bk_schema::record::{Backup, Status};
use bk_store::archives::space::Space;
use bk_store::removal::Removal;
use bk_store::storage::Unreachable;
use bk_store::{Home, Signals, catalog};

use crate::caps::FreeBytes;
use crate::flags::{ALL, DRY_RUN, EXPLAIN, FORCE_CLOCK, PROGRAM};
use crate::policy::Policy;
use crate::removal::{Given, Plan, Tally};
use crate::report::Decisions;
use crate::retention::{self, Action, Archive, Decision, Verdict};

/// stat(2) counts the space of a file in these, whatever the file system's own blocks.
const BLOCK_BYTES: u64 = 512;

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    let mut notices = Notices::new(&PROGRAM, arguments);
    let pruned = prune(arguments, home, output, &mut notices);
    notices.log_error(pruned, &Fields::default())
}

fn prune(arguments: &Arguments, home: Home, output: Output, notices: &mut Notices) -> Result<u8> {
    let now = home.now;
    let mut policy = Policy::new(arguments)?;
    let (is_trial, explains) = (arguments.has(&DRY_RUN), arguments.has(&EXPLAIN));
    let Input {
        mut given,
        status,
        here,
        jump,
    } = Input::read(&home, arguments, &policy)?;
    policy.here = here;
    if let Some(text) = clock::warning(given.iter().map(|it| &it.backup), now) {
        PROGRAM.warn(&text);
    }
    let free = match policy.caps.free_bytes {
        Some(_) => free_bytes(given.iter().map(|it| (&it.backup, it.archive)))?,
        None => FreeBytes::new(),
    };
    let all: Vec<_> = given.iter().map(Given::candidate).collect();
    let mut verdict = retention::decide(&all, &policy, &free, now);
    let status = status.max(leave_unreachable(&home, &given, &mut verdict.decisions));
    for name in &verdict.unmet {
        PROGRAM.warn(&format!(
            "warning: --{name} cannot be met: what is left may not be removed"
        ));
    }
    for name in &verdict.shrunk {
        PROGRAM.warn(&format!(
            "warning: nothing is removed of the group of '{name}', which is far smaller than the backup before it: if that is right, accept it with 'bk-set --accept {name}'"
        ));
    }
    let removes = |it: &Decision| it.action == Action::Remove;
    if let Some(jump) = jump.filter(|_| !arguments.has(&FORCE_CLOCK))
        && verdict.decisions.iter().any(removes)
    {
        bail!(
            "cannot prune: {jump}: if the clock is right, wait a day or use --force-clock; nothing is removed"
        );
    }
    let report = Decisions::new(&home, output, &policy);
    if is_trial || explains {
        preview(report, given, verdict, explains)?;
        return Ok(status);
    }
    for (one, decision) in given.iter_mut().zip(&verdict.decisions) {
        one.goes = removes(decision);
    }
    let (all, is_table) = (given.len(), report.is_table());
    let signals = Signals::watch()?;
    let removal = Removal {
        home: &home,
        event: "prune",
        keep_file: false,
        offline: false,
        signals: &signals,
    };
    let plan = Plan {
        removal,
        policy: &policy,
        free,
        all: given,
        report,
        notices,
        tally: Tally::default(),
    };
    let tally = plan.run()?;
    Ok(end(all, is_table, &signals, &tally, status))
}

/// What is known before anything is decided.
struct Input {
    /// The candidates, each once.
    given: Vec<Given>,
    /// What the others mean.
    status: u8,
    here: Host,
    jump: Option<Jump>,
}

impl Input {
    fn read(home: &Home, arguments: &Arguments, policy: &Policy) -> Result<Self> {
        let mut input = Self {
            given: Vec::new(),
            status: bk_cli::SUCCESS,
            here: Host::default(),
            jump: None,
        };
        let lines = given(arguments)?;
        if lines.as_ref().is_some_and(Vec::is_empty) {
            return Ok(input);
        }
        let found = catalog::read(home, |session| {
            copies::check_known(session, &policy.require_copy)?;
            input.here = session.host()?;
            input.jump = session.clock_jump(home.now)?;
            session.found(lines)
        })?;
        let mut seen = HashSet::new();
        for (backup, line) in PROGRAM.report_errors(found, &mut input.status) {
            if !retention::is_candidate(&backup) || !seen.insert(backup.id) {
                continue;
            }
            let (archive, unreachable) = match archive_of(home, &backup) {
                Ok(archive) => (archive, None),
                Err(unreachable) => (None, Some(unreachable)),
            };
            input.given.push(Given {
                backup,
                line,
                archive,
                unreachable,
                goes: false,
                is_chosen: false,
            });
        }
        Ok(input)
    }
}

/// The lines or operands; `None` where all backups are meant, which must be certain.
fn given(arguments: &Arguments) -> Result<Option<Vec<Line>>> {
    if arguments.has(&ALL) {
        if let Some(operand) = arguments.operands.first() {
            let operand = operand.display();
            return Err(UsageError(format!("--all and '{operand}' exclude each other")).into());
        }
    } else if arguments.operands.is_empty() {
        unread::check_no_input(
            "say '-' where it has the candidates, --all or </dev/null where all backups are meant",
        )?;
    }
    operands::read_or_all(arguments)
}

/// What cannot be reached is not gone: it is decided on as what is missing, and stays. The exit status
/// that this means.
fn leave_unreachable(home: &Home, given: &[Given], decisions: &mut [Decision]) -> u8 {
    let mut status = bk_cli::SUCCESS;
    for (one, decision) in given.iter().zip(decisions) {
        if let Some(unreachable) = &one.unreachable
            && decision.action == Action::Remove
        {
            decision.action = Action::Keep;
            decision.reasons = vec!["offline".to_owned()];
            home.storages.tell_unreachable(unreachable);
            status = bk_cli::SOME_FAILED;
        }
    }
    status
}

/// Prints what would go, or with `explains` all.
fn preview(
    mut report: Decisions<'_>,
    given: Vec<Given>,
    verdict: Verdict,
    explains: bool,
) -> Result<()> {
    let (mut count, mut bytes, all) = (0_usize, 0, given.len());
    for (one, decision) in given.into_iter().zip(verdict.decisions) {
        let goes = decision.action == Action::Remove;
        if goes {
            count += 1;
            bytes += one.backup.backup_size.unwrap_or_default();
        }
        if goes || explains {
            report.add(one.backup, one.line, &decision, None)?;
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
fn end(all: usize, is_table: bool, signals: &Signals, tally: &Tally, status: u8) -> u8 {
    if tally.count > 0 || is_table {
        let size = human_size(tally.freed_bytes);
        let missing = match tally.missing_count {
            0 => String::new(),
            count => format!("; the archives of {count} were missing"),
        };
        PROGRAM.warn(&format!(
            "removed {} of {all}, freed {size}{missing}",
            tally.count
        ));
    }
    signals.exit_status(status.max(tally.status))
}

/// The archive of a completed backup; `None` where there is none.
///
/// # Errors
/// [`Unreachable`], where that is not known.
fn archive_of(home: &Home, backup: &Backup) -> Result<Option<Archive>, Unreachable> {
    let found = home.storages.stat(backup.backup_path.as_ref())?;
    let is_archive = |it: &Metadata| it.is_file() && backup.status == Status::Completed;
    Ok(found.filter(is_archive).map(|it| Archive {
        file_system: it.dev(),
        disk_bytes: it.blocks().saturating_mul(BLOCK_BYTES),
    }))
}

/// What is free where the archives are.
fn free_bytes<'a>(all: impl Iterator<Item = (&'a Backup, Option<Archive>)>) -> Result<FreeBytes> {
    let mut free = FreeBytes::new();
    for (backup, archive) in all {
        let Some(archive) = archive else { continue };
        if let Entry::Vacant(entry) = free.entry(archive.file_system) {
            match Space::at(Path::new(&backup.backup_path))? {
                Some(space) => drop(entry.insert(space.available_bytes)),
                // Nothing says that space is wanted there.
                None => PROGRAM.warn(&format!(
                    "warning: --keep-free is not heeded where '{}' is: the file system does not tell its free space",
                    backup.backup_path
                )),
            }
        }
    }
    Ok(free)
}
