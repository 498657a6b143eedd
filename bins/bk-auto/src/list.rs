//! Prints jobs, as lines that `--set -` reads, or as a table.
//!
//! Knows no catalog.

use anyhow::Result;
use bk_cli::output::Output;
use bk_cli::table::{Cell, Column, Tone};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::store::JobState;

const COLUMNS: [Column; 8] = [
    Column::Left("JOB"),
    Column::Left("ENABLED"),
    Column::Left("SCHEDULE"),
    Column::Right("DAYS"),
    Column::Left("LAST RUN"),
    Column::Left("OUTCOME"),
    Column::Left("NEXT DUE"),
    Column::Left("SOURCES"),
];

/// One job. The keys up to `after` are those that `--set -` reads.
#[derive(Debug, Serialize)]
struct Line<'a> {
    job: &'a str,
    enabled: bool,
    schedule: &'a str,
    retention_days: Option<u32>,
    sources: Vec<&'a str>,
    request: Map<String, Value>,
    create_flags: &'a [String],
    before: Option<&'a str>,
    after: Option<&'a str>,
    last_run: Option<Timestamp>,
    last_outcome: Option<&'a str>,
    last_reason: Option<&'a str>,
    next_due: Option<Timestamp>,
}

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

fn line<'a>(state: &'a JobState, now: Timestamp, zone: &TimeZone) -> Line<'a> {
    let JobState { job, last } = state;
    let mut request = job.request.clone();
    request.shift_remove("sources");
    let reason = last.as_ref().and_then(|last| last.details.get("reason"));
    Line {
        job: &job.name,
        enabled: job.is_enabled,
        schedule: &job.schedule.text,
        retention_days: job.retention_days,
        sources: job.sources(),
        request,
        create_flags: &job.create_flags,
        before: job.before.as_deref(),
        after: job.after.as_deref(),
        last_run: state.last_run(),
        last_outcome: last.as_ref().map(|last| last.outcome.as_str()),
        last_reason: reason.and_then(Value::as_str),
        next_due: state.next(now, zone),
    }
}

fn row(state: &JobState, now: Timestamp, zone: &TimeZone) -> Vec<Cell> {
    let JobState { job, last } = state;
    let time = |time: Option<Timestamp>| {
        let shown = time.map(|time| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M"));
        shown.map_or("-".to_owned(), |time| time.to_string())
    };
    let outcome = last.as_ref().map_or("-", |last| last.outcome.as_str());
    let tone = |is_wrong, tone| if is_wrong { tone } else { Tone::Plain };
    vec![
        job.name.clone().into(),
        match job.is_enabled {
            true => "yes".into(),
            false => Cell::new("no", Tone::Warn),
        },
        job.schedule.text.clone().into(),
        job.retention_days
            .map_or("all".into(), |days| days.to_string())
            .into(),
        time(state.last_run()).into(),
        Cell::new(outcome, tone(outcome == "failed", Tone::Bad)),
        Cell::new(
            time(state.next(now, zone)),
            tone(state.due(now, zone).is_some(), Tone::Warn),
        ),
        job.sources().join(" ").into(),
    ]
}
