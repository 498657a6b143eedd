//! The program: candidates from the catalog, a look at their archives, the decision, and then
//! lines or the removal.
//!
//! The catalog is closed before the first archive is looked at and the first line printed.

use std::collections::HashSet;

use anyhow::{Result, bail};
use bk_cli::notices::Notices;
use bk_cli::operands;
use bk_cli::output::Output;
use bk_cli::units::human_size;
use bk_cli::unread;
use bk_cli::{Arguments, UsageError};
use bk_schema::clock::{self, Jump};
use bk_schema::host::Host;
use bk_schema::lines::Line;
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::removal::Removal;
use bk_store::signals::Signals;

use crate::archives;
use crate::caps::FreeBytes;
use crate::flags::{ALL, DRY_RUN, EXPLAIN, FORCE_CLOCK, PROGRAM};
use crate::given::Given;
use crate::policy::Policy;
use crate::removal::{Plan, Tally};
use crate::report::Decisions;
use crate::retention::{self, Action, Decision, Verdict};

/// The whole program.
///
/// # Errors
/// Mistakes on the command line, bad input, a catalog that cannot be read or written.
pub(crate) fn run(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    let mut notices = Notices::new(&PROGRAM, arguments);
    let pruned = prune(arguments, home, output, &mut notices);
    notices.log_error(pruned)
}

fn prune(arguments: &Arguments, home: Home, output: Output, notices: &mut Notices) -> Result<u8> {
    let now = home.now;
    let mut policy = Policy::new(arguments)?;
    let (is_trial, explains) = (arguments.has(&DRY_RUN), arguments.has(&EXPLAIN));
    let Input {
        given,
        status,
        here,
        jump,
    } = Input::read(&home, arguments)?;
    policy.here = here;
    if let Some(text) = clock::warning(given.iter().map(|it| &it.backup), now) {
        PROGRAM.warn(&text);
    }
    let free = match policy.caps.free_bytes {
        Some(_) => archives::free(given.iter().map(|it| (&it.backup, it.archive)))?,
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
        tell(report, given, verdict, explains)?;
        return Ok(status);
    }
    let decided: Vec<_> = given.into_iter().zip(verdict.decisions).collect();
    let all = decided.len();
    let is_table = report.is_table();
    let signals = Signals::watch()?;
    let removal = Removal {
        home: &home,
        event: "prune",
        keep_file: false,
        offline: false,
        signals: &signals,
    };
    let plan = Plan::new(
        removal,
        &policy,
        free,
        now,
        decided.into_iter(),
        report,
        notices,
    );
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
    fn read(home: &Home, arguments: &Arguments) -> Result<Self> {
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
            input.here = session.host()?;
            input.jump = session.clock_jump(home.now)?;
            session.found(lines)
        })?;
        let mut seen = HashSet::new();
        for (backup, line) in PROGRAM.report_errors(found, &mut input.status) {
            if retention::is_candidate(&backup) && seen.insert(backup.id) {
                let looked = archives::look(home, &backup);
                let unreachable = looked.as_ref().err().cloned();
                input.given.push(Given {
                    backup,
                    line,
                    archive: looked.ok().flatten(),
                    unreachable,
                });
            }
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
fn tell(
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
