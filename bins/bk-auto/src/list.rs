//! Prints jobs, as lines that `--set -` reads, or as a table.
//!
//! Knows no catalog.

use anyhow::Result;
use bk_cli::{Cell, Column, Cut, Output, Tone};
use bk_jobs::run::Run;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::job::Job;
use crate::store::JobState;

const COLUMNS: [Column; 9] = [
    Column::left("JOB").cut(Cut::Middle, 8),
    Column::left("ENABLED").leaves(1),
    Column::left("SCHEDULE").cut(Cut::End, 9).leaves(2),
    Column::left("KEEPS").cut(Cut::End, 8).leaves(3),
    Column::left("LAST RUN"),
    Column::left("OUTCOME"),
    Column::left("REASON").cut(Cut::End, 12),
    Column::left("NEXT DUE"),
    Column::left("DOES").cut(Cut::Middle, 8).leaves(4),
];

pub(crate) fn print(
    output: &mut Output,
    jobs: &[JobState],
    now: Timestamp,
    zone: &TimeZone,
) -> Result<()> {
    if output.is_table() && !jobs.is_empty() {
        let rows: Vec<_> = jobs.iter().map(|it| row(it, now, zone)).collect();
        output.table(&COLUMNS, &rows)?;
    } else {
        for state in jobs {
            output.line(&line(state, now, zone))?;
        }
    }
    output.flush()
}

/// The keys up to `notify_always` are those that `--set -` reads.
fn line(state: &JobState, now: Timestamp, zone: &TimeZone) -> Value {
    let (job, run) = (&state.job, state.run());
    let mut request = job.request.clone();
    request.shift_remove("sources");
    json!({
        "job": job.name,
        "enabled": job.timing.is_enabled,
        "schedule": job.timing.schedule.text,
        "retention_days": job.retention_days,
        "sources": job.sources(),
        "request": request,
        "create_flags": job.create_flags,
        "prune_flags": job.prune_flags,
        "verify": job.rounds.verify,
        "test_restore": job.rounds.test_restore,
        "prune": job.rounds.prune,
        "before": job.before,
        "after": job.after,
        "hook_timeout": job.hook_timeout,
        "notify": job.notify.as_ref().map(|it| &it.command),
        "notify_always": job.notify.as_ref().is_some_and(|it| it.is_always),
        "notifies": state.notify.as_ref().map(|it| &it.command),
        "last_run": run.map(Run::began),
        "last_outcome": run.map(Run::outcome),
        "last_reason": run.and_then(Run::reason),
        "last_warning": run.and_then(Run::warning),
        "next_due": state.next(now, zone),
    })
}

fn row(state: &JobState, now: Timestamp, zone: &TimeZone) -> Vec<Cell> {
    let (job, run) = (&state.job, state.run());
    let time = |time: Option<Timestamp>| {
        let shown = time.map(|time| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M"));
        shown.map_or("-".to_owned(), |time| time.to_string())
    };
    let outcome = run.map_or("-", Run::outcome);
    // Why it failed, else what was wrong with it all the same.
    let reason = run.and_then(|run| run.reason().or(run.warning()));
    let tone = |is_wrong, tone| if is_wrong { tone } else { Tone::Plain };
    let enabled = if job.timing.is_enabled { "yes" } else { "no" };
    vec![
        job.name.clone().into(),
        Cell::new(enabled, tone(!job.timing.is_enabled, Tone::Warn)),
        job.timing.schedule.text.clone().into(),
        keeps(job).into(),
        time(run.map(Run::began)).into(),
        Cell::new(outcome, tone(outcome == "failed", Tone::Bad)),
        Cell::or_dash(reason.map(str::to_owned)),
        Cell::new(
            time(state.next(now, zone)),
            tone(state.due(now, zone).is_some(), Tone::Warn),
        ),
        does(job).into(),
    ]
}

/// `30d`, `daily=7 weekly=4`, `all`.
fn keeps(job: &Job) -> String {
    let days = job.retention_days.map(|days| format!("{days}d"));
    let short = |flag: &String| {
        flag.trim_start_matches("--")
            .trim_start_matches("keep-")
            .to_owned()
    };
    let all: Vec<_> = days
        .into_iter()
        .chain(job.prune_flags.iter().map(short))
        .collect();
    match all.is_empty() {
        true if job.rounds.is_none() => "all".to_owned(),
        true => "-".to_owned(),
        false => all.join(" "),
    }
}

/// What it backs up, or does instead.
fn does(job: &Job) -> String {
    match job.rounds.is_none() {
        true => job.backs_up().join(" "),
        false => job.rounds.shown(),
    }
}
