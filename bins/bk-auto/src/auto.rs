//! The command line: changes jobs, lists them, or runs them.
//!
//! `--wait` reads the clock once a round, everything else once.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bk_cli::listing::{self, Listed};
use bk_cli::operands::check_no_terminal;
use bk_cli::retention::OF_JOBS;
use bk_cli::{Arguments, Flag, Output, UsageError, units, unread, usage};
use bk_schema::clock::{self, Jump, Rounds};
use bk_schema::lines;
use bk_store::trust::GAP;
use bk_store::{Home, Signals, catalog, storage};
use jiff::{SignedDuration, Timestamp};

use crate::change::{self, JobChange, job_name};
use crate::child::Watch;
use crate::create_flags;
use crate::flags::{
    AFTER, BEFORE, CLOCK_GAP, COMMAND, CREATE_FLAG, DISABLE, ENABLE, HOOK_TIMEOUT, LIST, NOTIFY,
    NOTIFY_ALWAYS, NOW, PROGRAM, PRUNE, REMOVE, REQUEST, RETENTION_DAYS, SCHEDULE, SET,
    STDIN_FILENAME, TEST_RESTORE, VERIFY, WAIT,
};
use crate::list;
use crate::lock::JobLock;
use crate::missed;
use crate::run::Runner;
use crate::store::{self, JobState};

/// `--wait` begins a round at least this often: a job may have been changed, or the clock set.
const ROUND_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// What to do instead of running what is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Set,
    List,
    Remove,
    Now,
    Wait,
    Enable,
    Disable,
    ClockGap,
    Notify,
}

const ACTIONS: [(Flag, Action); 9] = [
    (SET, Action::Set),
    (LIST, Action::List),
    (REMOVE, Action::Remove),
    (NOW, Action::Now),
    (WAIT, Action::Wait),
    (ENABLE, Action::Enable),
    (DISABLE, Action::Disable),
    (CLOCK_GAP, Action::ClockGap),
    (NOTIFY, Action::Notify),
];
/// Flags that only `--set` takes, beside those of bk-create.
const OF_SET: [Flag; 12] = [
    COMMAND,
    STDIN_FILENAME,
    VERIFY,
    TEST_RESTORE,
    PRUNE,
    HOOK_TIMEOUT,
    SCHEDULE,
    RETENTION_DAYS,
    REQUEST,
    CREATE_FLAG,
    BEFORE,
    AFTER,
];

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, mut output: Output) -> Result<u8> {
    let now = home.now;
    let action = action(arguments)?;
    let (names, sources) = operands(arguments);
    if action != Some(Action::Set) {
        check_alone(arguments, &sources)?;
    }
    match action {
        None | Some(Action::List | Action::Wait | Action::ClockGap | Action::Notify) => {
            check_none(names)?;
        }
        _ if names.is_empty() => {
            unread::check_no_record("name the jobs; 'bk-auto --set -' reads jobs from there")?;
        }
        _ => {}
    }
    let mut status = bk_cli::SUCCESS;
    let jobs = match action {
        None => return run_due(home, arguments, output),
        Some(Action::Wait) => return wait(home, arguments, output),
        Some(Action::Now) => return run_now(home, arguments, output, &job_names(names)?),
        Some(Action::ClockGap) => {
            let days = arguments.parsed(&CLOCK_GAP, parse_gap)?;
            days.map_or(Ok(()), |days| set_gap(&home, days))?;
            return Ok(status);
        }
        Some(Action::Notify) => {
            let notify = change::notify(arguments)?;
            store::set_notify(&home, notify.as_ref())?;
            return Ok(status);
        }
        Some(Action::Set) => {
            let changes = changes(arguments, names, &sources)?;
            changes.iter().try_for_each(check_flags)?;
            store::apply(&home, &changes)?
        }
        Some(Action::List) => usable(&home, &mut status)?,
        Some(Action::Remove) => store::remove(&home, &job_names(names)?)?,
        Some(Action::Enable) => store::set_enabled(&home, &job_names(names)?, true)?,
        Some(Action::Disable) => store::set_enabled(&home, &job_names(names)?, false)?,
    };
    list::print(&mut output, &jobs, now, &bk_cli::zone::local())?;
    Ok(status)
}

/// The one action that is asked for. `--enable`, `--disable` and `--notify` go with `--set` too.
fn action(arguments: &Arguments) -> Result<Option<Action>> {
    let is_set = arguments.has(&SET);
    let mut actions = ACTIONS.to_vec();
    actions.retain(|(flag, _)| !(is_set && [ENABLE, DISABLE, NOTIFY].contains(flag)));
    arguments.one_of(&actions)
}

/// The names of jobs before `--`, and the paths after it.
fn operands(arguments: &Arguments) -> (&[OsString], Vec<PathBuf>) {
    let all = &arguments.operands;
    let (names, sources) = all.split_at(arguments.before_dashes.unwrap_or(all.len()));
    (names, sources.iter().map(PathBuf::from).collect())
}

fn of_set() -> impl Iterator<Item = Flag> {
    let words = create_flags::own().chain(OF_JOBS);
    OF_SET.into_iter().chain(words)
}

fn check_alone(arguments: &Arguments, sources: &[PathBuf]) -> Result<()> {
    if let Some(flag) = of_set().find(|flag| arguments.has(flag)) {
        return Err(UsageError(format!("--{} goes with --set", flag.long)).into());
    }
    if arguments.has(&NOTIFY_ALWAYS) && !arguments.has(&NOTIFY) {
        return Err(UsageError("--notify-always goes with --notify".into()).into());
    }
    if let Some(source) = sources.first() {
        let source = source.display();
        return Err(UsageError(format!("'{source}': sources go with --set")).into());
    }
    Ok(())
}

fn check_none(names: &[OsString]) -> Result<()> {
    match names.first() {
        Some(name) => {
            let name = name.display();
            let text = format!("'{name}' is not expected; --now runs a job by its name");
            Err(UsageError(text).into())
        }
        None => Ok(()),
    }
}

fn job_names(operands: &[OsString]) -> Result<Vec<String>> {
    if operands.is_empty() {
        return Ok(vec![job_name(None)?]);
    }
    operands.iter().map(|name| job_name(Some(name))).collect()
}

/// The change of the flags to one job, or those of the lines on stdin.
fn changes(
    arguments: &Arguments,
    names: &[OsString],
    sources: &[PathBuf],
) -> Result<Vec<JobChange>> {
    match names {
        [one] if one == "-" => {
            let mut other = of_set().chain([ENABLE, DISABLE, NOTIFY, NOTIFY_ALWAYS]);
            if let Some(flag) = other.find(|flag| arguments.has(flag)) {
                let text = format!("--{} does not go with '-': the lines say all", flag.long);
                return Err(UsageError(text).into());
            }
            check_no_terminal("a job")?;
            let values = lines::read_values(std::io::stdin().lock());
            let change = |(number, value)| {
                JobChange::from_line(value).with_context(|| format!("line {number}"))
            };
            let changes: Result<Vec<_>> =
                values.and_then(|values| values.into_iter().map(change).collect());
            changes.map_err(|e| usage(&e, "bad input"))
        }
        [] | [_] => {
            let name = job_name(names.first().map(OsString::as_os_str))?;
            Ok(vec![JobChange::from_flags(name, sources, arguments)?])
        }
        [_, other, ..] => Err(UsageError(format!(
            "'{}' is one job too many; what is backed up stands after --",
            other.display()
        ))
        .into()),
    }
}

/// Has bk-create and bk-prune check their flags, with nothing to do: they alone know what is wrong with
/// a value.
fn check_flags(change: &JobChange) -> Result<()> {
    let given = change.given.iter().flat_map(|it| &it.words);
    let flags = change.create_flags.iter().flatten().chain(given);
    // A list is read as it is at the time of the run.
    let flags: Vec<_> = flags.filter(|flag| !create_flags::is_list(flag)).collect();
    check_flags_of("bk-create", &flags, &["--estimate", "-"])?;
    let given = change.prune_given.iter().flat_map(|it| &it.words);
    let flags: Vec<_> = change.prune_flags.iter().flatten().chain(given).collect();
    check_flags_of("bk-prune", &flags, &["--expired", "-n", "-"])
}

fn check_flags_of(program: &str, flags: &[&String], more: &[&str]) -> Result<()> {
    if flags.is_empty() {
        return Ok(());
    }
    let mut command = bk_cli::program(program);
    command.args(flags).args(more);
    command.stdin(std::process::Stdio::null());
    let output = command.output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let reason = text.trim_start_matches(&format!("{program}: ")).trim_end();
        return Err(UsageError(format!("a flag for {program}: {reason}")).into());
    }
    Ok(())
}

fn parse_gap(text: &str) -> Result<u32> {
    units::parse_number(text, 1..=36_500)
}

/// The jobs whose settings are right; reports the others.
fn usable(home: &Home, status: &mut u8) -> Result<Vec<JobState>> {
    let all = store::read(home)?.into_values();
    Ok(PROGRAM.report_errors(all, status).collect())
}

/// A runner, with which signals end the work between two steps.
fn runner(home: Home, arguments: &Arguments, output: Output) -> Result<Runner> {
    if let Some(exposed) = storage::exposed(&home.dir) {
        let dir = home.dir.display();
        bail!("cannot run jobs, whose commands stand in the home: '{dir}' {exposed}");
    }
    let signals = Signals::watch()?;
    signals.hold();
    let watch = Watch::new(signals, !arguments.has(&WAIT))?;
    Runner::new(home, watch, arguments, output)
}

fn run_now(home: Home, arguments: &Arguments, output: Output, names: &[String]) -> Result<u8> {
    let mut runner = runner(home, arguments, output)?;
    let mut status = bk_cli::SUCCESS;
    runner.jump = count_round(&runner.home, &mut status)?;
    for name in names {
        // Fails for an unknown job before its lock file is made.
        let state = store::read_one(&runner.home, name);
        let ran = state.and_then(|_| runner.run(name, true));
        status = status.max(ran.unwrap_or_else(|error| PROGRAM.report(&error)));
        if runner.watch.signals.caught().is_some() {
            break;
        }
    }
    end(runner, status)
}

fn run_due(home: Home, arguments: &Arguments, output: Output) -> Result<u8> {
    let mut runner = runner(home, arguments, output)?;
    let status = round(&mut runner)?.1;
    end(runner, status)
}

/// Counts a round; returns the jump of the clock because of which no retention is to run. Without
/// an earlier round, the newest event stands for it. A round that cannot be recorded is reported,
/// and backups are made all the same.
fn count_round(home: &Home, status: &mut u8) -> Result<Option<Jump>> {
    let (old, newest, gap_days) = catalog::read(home, |session| {
        let newest = session.newest_event(clock::latest_plausible(home.now))?;
        Ok((session.rounds()?, newest, session.clock_gap_days()?))
    })?;
    let last = old.unwrap_or_else(|| Rounds::of(newest.unwrap_or(home.now)));
    let rounds = last.with(home.now, gap_days);
    if old.is_none_or(|old| rounds.differs_from(&old)) {
        let written = catalog::write(home, |session| session.set_rounds(&rounds));
        if let Err(error) = written.context("cannot record the round") {
            *status = PROGRAM.report(&error);
        }
    }
    Ok(rounds.jump())
}

/// Sets how many days may pass between two rounds.
fn set_gap(home: &Home, days: u32) -> Result<()> {
    catalog::check_there(home)?;
    catalog::write(home, |session| session.set_setting(GAP, &days.to_string()))
}

/// Records what earlier rounds left; returns the exit status that it means, where there was something.
fn recover(runner: &mut Runner, jobs: &[JobState]) -> Result<Option<u8>> {
    let dir = runner.home.dir.clone();
    let names = || jobs.iter().map(|it| it.job.name.as_str());
    let left: Vec<_> = names()
        .filter(|name| JobLock::has_left(&dir, name))
        .collect();
    let mut status = (!left.is_empty()).then(|| runner.recover_all(&left));
    if missed::is_kept(&dir) {
        let missed = missed::kept(&dir).filter(|it| it.began <= runner.home.now);
        let names: Vec<_> = names().collect();
        let recorded = missed.map_or(Ok(bk_cli::SUCCESS), |it| runner.record_missed(&it, &names));
        let cleared = recorded.and_then(|status| missed::clear(&dir).map(|()| status));
        status = status.max(Some(cleared.unwrap_or_else(|error| PROGRAM.report(&error))));
    }
    Ok(status)
}

/// As [`run_all`]; where the catalog stayed locked, the next round is to know.
fn round(runner: &mut Runner) -> Result<(Option<Timestamp>, u8)> {
    let ran = run_all(runner);
    if let Err(error) = &ran {
        keep_missed(runner, error);
    }
    ran
}

fn keep_missed(runner: &Runner, error: &anyhow::Error) {
    let kept = missed::keep(&runner.home.dir, runner.home.now, error);
    if let Err(error) = kept {
        PROGRAM.warn(&format!("warning: {error:#}"));
    }
}

/// Runs what is due; returns the time when a job is due next, and the exit status.
fn run_all(runner: &mut Runner) -> Result<(Option<Timestamp>, u8)> {
    // The files of the time zone may go while bk-auto waits.
    bk_cli::zone::check()?;
    let (now, zone) = (runner.home.now, bk_cli::zone::local());
    let mut status = bk_cli::SUCCESS;
    let mut jobs = usable(&runner.home, &mut status)?;
    let recovered = recover(runner, &jobs)?;
    if recovered.is_some() {
        jobs = usable(&runner.home, &mut status)?;
    }
    status = status.max(recovered.unwrap_or_default());
    runner.jump = count_round(&runner.home, &mut status)?;
    let mut due: Vec<_> = jobs
        .iter()
        .filter_map(|it| Some((it.due(now, &zone)?, &it.job.name)))
        .collect();
    due.sort();
    for (_, name) in due {
        if runner.watch.signals.caught().is_some() {
            break;
        }
        let ran = runner.run(name, false);
        status = status.max(ran.unwrap_or_else(|error| {
            keep_missed(runner, &error);
            PROGRAM.report(&error)
        }));
    }
    let enabled = jobs.iter().filter(|it| it.job.timing.is_enabled);
    let next = enabled.filter_map(|it| it.job.timing.schedule.next(now, &zone));
    Ok((next.min(), status))
}

/// Runs jobs as they come due, until a signal comes.
fn wait(home: Home, arguments: &Arguments, output: Output) -> Result<u8> {
    let mut runner = runner(home, arguments, output)?;
    catalog::check_there(&runner.home)?;
    while runner.watch.signals.caught().is_none() {
        let next = match round(&mut runner) {
            Ok((next, _)) => next,
            Err(error) => {
                PROGRAM.report(&error);
                None
            }
        };
        print_made(&mut runner)?;
        let now = clock::now();
        let until = next.map_or(ROUND_EVERY, |next| next.duration_since(now));
        let until = until.clamp(SignedDuration::ZERO, ROUND_EVERY);
        pause(&mut runner, Duration::try_from(until)?)?;
        runner.home.now = clock::now();
    }
    end(runner, bk_cli::SUCCESS)
}

fn pause(runner: &mut Runner, duration: Duration) -> Result<()> {
    let began = std::time::Instant::now();
    while runner.watch.signals.caught().is_none() {
        let Some(left) = duration.checked_sub(began.elapsed()) else {
            break;
        };
        runner.watch.pause(left)?;
        runner.settle()?;
    }
    Ok(())
}

/// Prints the table of the new records; lines were printed as they came.
fn print_made(runner: &mut Runner) -> Result<()> {
    let made = std::mem::take(&mut runner.made).into_iter();
    let listed: Vec<_> = made.map(|it| Listed::stat(&runner.home, it)).collect();
    match listed.is_empty() {
        true => Ok(()),
        false => listing::print_made(&mut runner.output, listed),
    }
}

fn end(mut runner: Runner, status: u8) -> Result<u8> {
    print_made(&mut runner)?;
    let status = status.max(runner.settle_all()?);
    Ok(runner.watch.signals.exit_status(status))
}
