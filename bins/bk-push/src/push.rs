//! The command line: names locations, or copies archives to one.
//!
//! Knows no protocol.

use std::collections::HashSet;

use anyhow::{Result, bail};
use bk_cli::units::parse_size;
use bk_cli::{Arguments, Flag, Output, Progress, Report, UsageError, operands};
use bk_store::{Home, Signals, catalog, parts};

use crate::copying::{self, COLUMNS, Copies, Due};
use crate::destination::Destination;
use crate::flags::{
    CREDENTIALS, DRY_RUN, ENDPOINT, INIT, LIMIT_RATE, LIST, PROGRAM, REGION, SET, STORAGE_CLASS,
    UNSET,
};
use crate::locations;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Set,
    List,
    Unset,
}

const ACTIONS: [(Flag, Action); 3] = [
    (SET, Action::Set),
    (LIST, Action::List),
    (UNSET, Action::Unset),
];
/// Flags that tell what a location is.
const OF_SET: [Flag; 4] = [INIT, ENDPOINT, REGION, STORAGE_CLASS];

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    let action = arguments.one_of(&ACTIONS)?;
    if action != Some(Action::Set)
        && let Some(flag) = OF_SET.iter().find(|flag| arguments.has(flag))
    {
        bail!(UsageError(format!("--{} goes with --set", flag.long)));
    }
    match action {
        Some(Action::Set) => locations::set(arguments, &home),
        Some(Action::List) => match arguments.operands.first() {
            None => locations::list(&home, output),
            Some(_) => bail!(UsageError("--list takes no operands".into())),
        },
        Some(Action::Unset) => locations::unset(arguments, &home),
        None => copy(arguments, home, output),
    }
}

fn copy(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    let Some((location, backups)) = arguments.operands.split_first() else {
        bail!(UsageError(
            "no location given: it is the first operand; 'bk-push --list' lists them".into()
        ));
    };
    let location = locations::text(location)?;
    let lines = operands::resolve(backups)?;
    let mut destination = Destination::named(&home, location)?;
    if let Some(file) = arguments.value(&CREDENTIALS) {
        destination.credentials = Some(std::path::absolute(file)?);
    }
    let limit_rate = arguments.parsed(&LIMIT_RATE, parse_size)?;
    destination.limit_rate = limit_rate.or(destination.limit_rate);
    let mut status = bk_cli::SUCCESS;
    let found = PROGRAM.report_errors(catalog::resolve(&home, Some(lines))?, &mut status);
    let mut seen = HashSet::new();
    let is_new = |(backup, _): &(bk_schema::record::Backup, _)| seen.insert(backup.id);
    let queue = found.filter(is_new);
    let queue = queue.map(|(backup, line)| Due { backup, line }).collect();
    let signals = Signals::watch()?;
    let mut copies = Copies {
        place: destination.open(&signals)?,
        home,
        location: location.to_owned(),
        storing: destination.storing(),
        signals: signals.clone(),
        progress: Progress::new(&PROGRAM),
        report: Report::new(output, &COLUMNS),
        status,
        queue,
    };
    if arguments.has(&DRY_RUN) {
        return copying::dry_run(copies);
    }
    if copies.queue.is_empty() {
        return Ok(copies.status);
    }
    let bytes = copies.queue.iter().filter_map(|due| due.backup.backup_size);
    let (bytes, count) = (bytes.sum(), copies.queue.len() as u64);
    copies.progress.begin_counting(bytes, count, "archives");
    let home = copies.home.clone();
    let ended = parts::run(&home, &signals, &mut copies);
    copies.progress.end();
    let printed = copies.report.end();
    ended.and(printed)?;
    Ok(signals.exit_status(copies.status))
}
