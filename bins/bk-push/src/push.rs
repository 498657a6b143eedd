//! The command line: names locations, copies archives to one, asks for the copies there, or removes them.
//!
//! Knows no protocol.

use std::collections::{HashMap, HashSet, VecDeque};

use anyhow::{Result, bail, ensure};
use bk_cli::{Arguments, Flag, Output, Progress, Report, UsageError, operands};
use bk_offsite::destination::{self, Destination, parse_rate};
use bk_offsite::sidecars;
use bk_store::{Home, Signals, catalog, parts};

use crate::check::{self, Check};
use crate::copying::{COLUMNS, Copies, Due};
use crate::flags::{
    CHECK, CREDENTIALS, DRY_RUN, ENDPOINT, GONE, INIT, LIMIT_RATE, LIST, LOCK, LOCK_MODE, LOST,
    PROGRAM, READ, RECIPIENT, REGION, REMOVE, SET, STORAGE_CLASS, UNSET,
};
use crate::remove::{self, Removal};
use crate::{known, leftovers, lists, locations, preview};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Set,
    List,
    Unset,
    Check,
    Remove,
}

const ACTIONS: [(Flag, Action); 5] = [
    (SET, Action::Set),
    (LIST, Action::List),
    (UNSET, Action::Unset),
    (CHECK, Action::Check),
    (REMOVE, Action::Remove),
];
/// Flags that go with one action alone.
const OF_ACTIONS: [(Flag, Flag, Action); 9] = [
    (LOST, UNSET, Action::Unset),
    (INIT, SET, Action::Set),
    (ENDPOINT, SET, Action::Set),
    (REGION, SET, Action::Set),
    (STORAGE_CLASS, SET, Action::Set),
    (LOCK, SET, Action::Set),
    (LOCK_MODE, SET, Action::Set),
    (READ, CHECK, Action::Check),
    (GONE, REMOVE, Action::Remove),
];
/// Flags that would change nothing of an action.
const OF_NO_USE: [(Flag, &[Action]); 4] = [
    (
        DRY_RUN,
        &[Action::Set, Action::List, Action::Unset, Action::Check],
    ),
    (CREDENTIALS, &[Action::List, Action::Unset]),
    (
        RECIPIENT,
        &[Action::List, Action::Unset, Action::Check, Action::Remove],
    ),
    (
        LIMIT_RATE,
        &[Action::List, Action::Unset, Action::Check, Action::Remove],
    ),
];

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    let action = arguments.one_of(&ACTIONS)?;
    for (flag, with, of) in OF_ACTIONS {
        ensure!(
            action == Some(of) || !arguments.has(&flag),
            UsageError(format!("--{} goes with --{}", flag.long, with.long))
        );
    }
    check_use(arguments, action)?;
    match action {
        Some(Action::Set) => locations::set(arguments, &home),
        Some(Action::List) => match arguments.operands.first() {
            None => locations::list(&home, output),
            Some(_) => bail!(UsageError("--list takes no operands".into())),
        },
        Some(Action::Unset) => locations::unset(arguments, &home),
        Some(Action::Check) => check(arguments, home, output),
        Some(Action::Remove) => remove(arguments, home, output),
        None => copy(arguments, home, output),
    }
}

fn check_use(arguments: &Arguments, action: Option<Action>) -> Result<()> {
    let Some((given, action)) = ACTIONS.into_iter().find(|(_, it)| action == Some(*it)) else {
        return Ok(());
    };
    for (flag, actions) in OF_NO_USE {
        ensure!(
            !actions.contains(&action) || !arguments.has(&flag),
            UsageError(format!(
                "--{} and --{} exclude each other",
                given.long, flag.long
            ))
        );
    }
    Ok(())
}

/// A location as the settings have it, and as the command line would rather have it.
fn destination(arguments: &Arguments, home: &Home, location: &str) -> Result<Destination> {
    let mut destination = Destination::named(home, location)?;
    if let Some(file) = arguments.value(&CREDENTIALS) {
        destination.credentials = Some(std::path::absolute(file)?);
    }
    if arguments.has(&RECIPIENT) {
        destination.recipients = destination::recipients(arguments, &RECIPIENT)?;
    }
    let limit_rate = arguments.parsed(&LIMIT_RATE, parse_rate)?;
    destination.limit_rate = limit_rate.or(destination.limit_rate);
    Ok(destination)
}

fn check(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    let (location, backups) = destination::operands(arguments)?;
    let lines = (!backups.is_empty()).then(|| operands::resolve(backups));
    let lines = lines.transpose()?;
    let is_all = lines.is_none();
    let percent = arguments.parsed(&READ, check::parse_share)?;
    let mut destination = destination(arguments, &home, location)?;
    let mut status = bk_cli::SUCCESS;
    let all = known::find(&home, location, lines, &mut status)?;
    let keys = all
        .iter()
        .flat_map(|it| it.beside().into_iter().chain([it.copy.object_key.clone()]));
    let keys: HashSet<_> = keys.collect();
    let (whole, bad): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.copy.is_complete());
    let queue = VecDeque::from(whole);
    // Of those that never were there nobody asked.
    let is_told = |it: &&known::Known| !is_all || it.copy.copied_at.is_some();
    let bad: Vec<_> = bad.iter().filter(is_told).collect();
    for known in &bad {
        let name = known.copy.backup_name.escape_debug();
        PROGRAM.warn(&format!("'{name}' has no complete copy at '{location}'"));
        status = bk_cli::SOME_FAILED;
    }
    if is_all && queue.is_empty() && bad.is_empty() {
        PROGRAM.warn(&format!(
            "no copies are known at '{location}': 'bk-pull --adopt {location}' records what is there"
        ));
        status = bk_cli::SOME_FAILED;
    }
    let signals = Signals::watch()?;
    let progress = Progress::new(&PROGRAM);
    let place = destination.open(&signals, &progress)?;
    destination.settle(&home, location, place.as_ref())?;
    let mut check = Check {
        place,
        location: location.to_owned(),
        signals: signals.clone(),
        progress,
        report: Report::new(output, &check::COLUMNS),
        status,
        to_read: percent.map_or_else(HashSet::new, |it| check::sample(&queue, it, home.now)),
        queue,
        left_count: 0,
        is_given_up: false,
        home: home.clone(),
    };
    check.begin_progress();
    let ended = parts::run(&home, &signals, &mut check);
    check.progress.end();
    check.tell_left();
    ended.and(check.report.end())?;
    if is_all && !check.is_given_up && signals.caught().is_none() {
        let host = catalog::read(&home, |session| session.host())?;
        check.find_unknown(&sidecars::archives_of(&host.name), &keys)?;
    }
    Ok(signals.exit_status(check.status))
}

fn remove(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    let (location, backups) = destination::operands(arguments)?;
    let is_gone = arguments.has(&GONE);
    ensure!(
        !is_gone || backups.is_empty(),
        UsageError("--gone takes no backups: it is those that are gone".into())
    );
    let lines = (!is_gone).then(|| operands::resolve(backups)).transpose()?;
    let mut destination = destination(arguments, &home, location)?;
    let mut status = bk_cli::SUCCESS;
    let mut all = known::find(&home, location, lines, &mut status)?;
    all.retain(|it| !is_gone || it.backup.is_none());
    let signals = Signals::watch()?;
    let progress = Progress::new(&PROGRAM);
    let place = destination.open(&signals, &progress)?;
    if !arguments.has(&DRY_RUN) {
        destination.settle(&home, location, place.as_ref())?;
    }
    let backups = all.iter().filter_map(|it| it.backup.as_ref());
    let here = backups.filter(|it| remove::is_here(&home, it));
    let mut removal = Removal {
        here: here.map(|it| it.id).collect(),
        place,
        destination,
        location: location.to_owned(),
        signals: signals.clone(),
        progress,
        report: Report::new(output, &remove::COLUMNS),
        status,
        queue: all.into(),
        by_record: HashMap::new(),
        left_count: 0,
        is_given_up: false,
        home: home.clone(),
    };
    if arguments.has(&DRY_RUN) {
        return removal.preview();
    }
    if removal.queue.is_empty() {
        return Ok(removal.status);
    }
    let before = lists::known(&home, location)?;
    removal.begin_progress();
    let ended = parts::run(&home, &signals, &mut removal);
    removal.progress.end();
    removal.tell_left();
    ended.and(removal.report.end())?;
    if !removal.is_given_up && signals.caught().is_none() {
        lists::write(
            &home,
            location,
            removal.place.as_ref(),
            &signals,
            Some(&before),
        )?;
    }
    Ok(signals.exit_status(removal.status))
}

fn copy(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    let (location, backups) = destination::operands(arguments)?;
    let lines = operands::resolve(backups)?;
    let mut destination = destination(arguments, &home, location)?;
    let mut status = bk_cli::SUCCESS;
    let found = PROGRAM.report_errors(catalog::resolve(&home, Some(lines))?, &mut status);
    let mut seen = HashSet::new();
    let is_new = |(backup, _): &(bk_schema::record::Backup, _)| seen.insert(backup.id);
    let queue = found.filter(is_new);
    let queue = queue.map(|(backup, line)| Due { backup, line }).collect();
    let signals = Signals::watch()?;
    let progress = Progress::new(&PROGRAM);
    let place = destination.open(&signals, &progress)?;
    if !arguments.has(&DRY_RUN) {
        destination.settle(&home, location, place.as_ref())?;
    }
    let mut copies = Copies {
        place,
        home,
        location: location.to_owned(),
        destination,
        signals: signals.clone(),
        progress,
        report: Report::new(output, &COLUMNS),
        status,
        queue,
        left_count: 0,
        is_given_up: false,
        has_copied: false,
    };
    if arguments.has(&DRY_RUN) {
        return preview::preview(copies);
    }
    if copies.queue.is_empty() {
        let place = copies.place.as_ref();
        leftovers::remove(&copies.home, location, place)?;
        lists::write(&copies.home, location, place, &signals, None)?;
        return Ok(copies.status);
    }
    let bytes = copies.queue.iter().filter_map(|due| due.backup.backup_size);
    let bytes: u64 = bytes.sum();
    copies.destination.check_lock(copies.place.as_ref())?;
    let count = copies.queue.len() as u64;
    // What is encrypted is read here and sent then.
    let passes = 1 + u64::from(!copies.destination.recipients.is_empty());
    copies
        .progress
        .begin_counting(bytes * passes, count, "archives");
    let home = copies.home.clone();
    let ended = parts::run(&home, &signals, &mut copies);
    copies.tell_left();
    copies.progress.end();
    let printed = copies.report.end();
    ended.and(printed)?;
    if copies.left_count == 0 && signals.caught().is_none() {
        leftovers::remove(&home, location, copies.place.as_ref())?;
    }
    let is_due = copies.has_copied || copies.status == bk_cli::SUCCESS;
    if is_due && !copies.is_given_up && signals.caught().is_none() {
        lists::write(&home, location, copies.place.as_ref(), &signals, None)?;
    }
    Ok(signals.exit_status(copies.status))
}
