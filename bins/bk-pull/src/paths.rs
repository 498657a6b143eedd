//! `--path`: some files of a backup, straight from the location, where only what holds them is read.
//!
//! No catalog is open while anything is read from the location.

use std::time::Instant;

use anyhow::{Context, Error, Result, ensure};
use bk_archive::restore::extract::Observer;
use bk_cli::entries::{Told, by_backup};
use bk_cli::listing::{self, Listed};
use bk_cli::units::human_size;
use bk_cli::{Arguments, Column, Cut, Output, Report, UsageError};
use bk_offsite::Destination;
use bk_schema::event::Event;
use bk_schema::lines::Line;
use bk_schema::record::Backup;
use bk_store::{Home, Signals, catalog};
use serde_json::{Map, Value, json};

use crate::bring;
use crate::files::{Outcome, Wanted, Work};
use crate::flags::{PATH, PROGRAM, STDOUT};
use crate::rules::Rules;
use crate::watch::Watch;

const COLUMNS: [Column; 6] = [
    listing::ID,
    Column::left("NAME").cut(Cut::Middle, 12),
    Column::right("ENTRIES").leaves(2),
    Column::right("SIZE").leaves(1),
    Column::right("READ"),
    Column::left("TARGET").cut(Cut::Middle, 12),
];

pub(crate) fn run(
    arguments: &Arguments,
    home: &Home,
    destination: &Destination,
    location: &str,
    asked: Vec<(Line, Vec<Told>)>,
    output: Output,
) -> Result<u8> {
    let rules = bring::rules(arguments, home, location)?;
    let to_stdout = arguments.has(&STDOUT);
    ensure!(
        to_stdout != rules.dir.is_some(),
        UsageError("where to? Give -C DIR or --stdout".into())
    );
    let globs = arguments.texts(&PATH)?;
    let (lines, told): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    let is_told = told.iter().any(|it| !it.is_empty());
    ensure!(
        !is_told || globs.is_empty() && told.iter().all(|it| !it.is_empty()),
        UsageError("the lines tell which paths to restore: give no others".into())
    );
    if lines.is_empty() && !to_stdout {
        return Ok(bk_cli::SUCCESS);
    }
    let found = catalog::resolve(home, Some(lines))?;
    let mut found = by_backup(found.into_iter().zip(told));
    ensure!(
        found.len() == 1,
        UsageError(match found.len() {
            0 => "no backup given for --stdout".into(),
            _ => "several backups cannot be restored to one place: give one".into(),
        })
    );
    let Some((found, told)) = found.pop() else {
        return Ok(bk_cli::SUCCESS);
    };
    let (backup, line) = found?;
    let wanted = Wanted::new(told, &globs)?;
    let signals = Signals::watch()?;
    let watch = Watch::new(&signals);
    let place = destination.open(&signals, &watch.progress)?;
    signals.hold();
    let began = Instant::now();
    let done = rules.copy(&backup).and_then(|copy| {
        let work = Work {
            rules: &rules,
            place: place.as_ref(),
            backup: &backup,
            copy,
            wanted: &wanted,
            watch: &watch,
        };
        work.run()
    });
    watch.progress.end();
    if done.is_err() && watch.is_stopped() {
        signals.release();
        return Ok(signals.exit_status(bk_cli::SOME_FAILED));
    }
    let seconds = began.elapsed().as_secs_f64();
    let told = tell(&rules, backup, line, done, seconds, output);
    signals.release();
    let status = told.unwrap_or_else(|error| PROGRAM.report(&error));
    Ok(signals.exit_status(status))
}

/// Records what was done, and tells it.
fn tell(
    rules: &Rules,
    backup: Backup,
    line: Map<String, Value>,
    done: Result<Outcome>,
    seconds: f64,
    output: Output,
) -> Result<u8> {
    let (name, location) = (
        backup.backup_name.escape_debug().to_string(),
        &rules.location,
    );
    let cannot =
        |error: &Error| format!("cannot restore files of '{name}' from '{location}': {error:#}");
    let details = match &done {
        Ok(done) => told(done, location, seconds),
        Err(error) => json!({ "location": location, "reason": format!("{error:#}") }),
    };
    let recorded = catalog::write(&rules.home, |session| {
        session.log(&Event::of(&backup, "pull", done.is_ok(), details.clone()))
    });
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            PROGRAM.warn(&cannot(&error));
            recorded.context("cannot record the failure")?;
            return Ok(bk_cli::SOME_FAILED);
        }
    };
    let failed_count = done.failed_count;
    if let Some(target) = &done.target {
        let row = vec![
            backup.id.to_string().into(),
            backup.backup_name.clone().into(),
            done.entries.to_string().into(),
            human_size(done.bytes).into(),
            human_size(done.read_bytes).into(),
            target.display().to_string().into(),
        ];
        let mut report = Report::new(output, &COLUMNS);
        let listed = Listed::stat(&rules.home, backup).with([("pull", details)], line);
        report.add(&listed, row)?;
        report.end()?;
    }
    recorded
        .with_context(|| format!("files of '{name}' were restored, but that cannot be recorded"))?;
    Ok(match failed_count {
        0 => bk_cli::SUCCESS,
        _ => bk_cli::SOME_FAILED,
    })
}

/// The key `pull` of a line, and what the ledger keeps.
fn told(done: &Outcome, location: &str, seconds: f64) -> Value {
    json!({
        "location": location,
        "path": done.target.as_ref().map(|it| it.to_string_lossy()),
        "entries": done.entries,
        "bytes": done.bytes,
        "read_bytes": done.read_bytes,
        "skipped": done.skipped_count,
        "seconds": seconds,
    })
}
