//! Restores backups one after the other, and records each restoration in the ledger.
//!
//! The catalog is open before the first backup, after each, and before an exchange; never while
//! an archive or a target is touched.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use bk_archive::restore::print;
use bk_cli::entries::by_identity;
use bk_cli::listing::Listed;
use bk_cli::operands;
use bk_cli::output::Output;
use bk_cli::report::Report;
use bk_cli::units::human_size;
use bk_cli::{Arguments, UsageError};
use bk_cli::{Cell, Column, Cut};
use bk_schema::event::Event;
use bk_schema::record::Backup;
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::lock::Timeout;
use bk_store::signals::{Signals, ended_by};
use serde_json::{Map, Value, json};

use crate::flags::{Existing, PROGRAM, Settings, To};
use crate::outcome::Outcome;
use crate::preview;
use crate::sources::is_in_order;
use crate::trial;
use crate::wanted::{Wanted, by_backup};
use crate::watch::{Skipped, Watch};
use crate::work::Work;

const COLUMNS: [Column; 6] = [
    Column::right("ID"),
    Column::left("NAME").cut(Cut::Middle, 12),
    Column::right("ENTRIES").leaves(2),
    Column::right("SIZE").leaves(1),
    Column::right("SKIPPED"),
    Column::left("TARGET").cut(Cut::Middle, 12),
];

/// The whole program.
///
/// # Errors
/// Mistakes on the command line and bad input; what concerns one backup is reported and counted.
pub(crate) fn run(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    let mut report = Report::new(output, &COLUMNS);
    let mut ids = arguments.clone();
    let count = arguments.before_dashes;
    let paths = ids.operands.split_off(count.unwrap_or(ids.operands.len()));
    let wanted = Wanted::new(arguments, &paths)?;
    Settings::new(arguments, !wanted.selection.is_all())?;
    let signals = Signals::watch()?;
    let all = by_identity(operands::read(&ids)?)?;
    let has_paths = all.iter().any(|(_, told)| !told.is_empty());
    if has_paths && !wanted.selection.is_all() {
        let text = "the lines tell which paths to restore: give no others";
        return Err(UsageError(text.into()).into());
    }
    let settings = Settings::new(arguments, has_paths || !wanted.selection.is_all())?;
    if all.is_empty() && matches!(settings.to, To::Stdout(_)) {
        // What it is written to would be taken for the file.
        return Err(UsageError("no backup given for --stdout".into()).into());
    }
    let check_count = |count: usize| {
        let text = "several backups cannot be restored to one place: give one, or --into-existing; paths inside a backup stand after '--'";
        let is_wrong = count > 1 && takes_one(&settings.to);
        anyhow::ensure!(!is_wrong, UsageError(text.into()));
        Ok(())
    };
    if !has_paths {
        check_count(all.len())?;
    }
    let (lines, told): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let found = catalog::resolve(&home, Some(lines))?;
    let all = by_backup(found.into_iter().zip(told))?;
    check_count(all.len())?;
    let mut restoration = Restoration {
        settings,
        signals,
        home,
    };
    let mut status = bk_cli::SUCCESS;
    for (found, by_line) in all {
        let wanted = by_line.as_ref().unwrap_or(&wanted);
        let done = found.and_then(|(backup, object)| {
            restoration.signals.hold();
            let done = restoration.one(backup, wanted, object, &mut report);
            restoration.signals.release();
            done
        });
        if let Err(error) = done {
            status = PROGRAM.report(&error);
            if error.is::<Timeout>() {
                break;
            }
        }
        if let Some(signal) = restoration.signals.caught() {
            status = ended_by(signal);
            break;
        }
    }
    report.end()?;
    Ok(status)
}

fn takes_one(to: &To) -> bool {
    use Existing::{Empty, Swap};
    matches!(to, To::Directory(_, Empty | Swap) | To::Stdout(_))
}

/// What every backup of this process shares.
struct Restoration {
    settings: Settings,
    signals: Signals,
    home: Home,
}

impl Restoration {
    fn one(
        &mut self,
        backup: Backup,
        wanted: &Wanted,
        object: Map<String, Value>,
        report: &mut Report,
    ) -> Result<()> {
        let name = backup.backup_name.clone();
        let began = Instant::now();
        let watch = Watch::new(&self.signals);
        let outcome = self.work(&backup, wanted, &watch);
        let skipped = watch.end();
        let seconds = began.elapsed().as_secs_f64();
        let cannot = match self.settings.to {
            To::Test(_) => format!("cannot restore '{name}' as a test"),
            _ => format!("cannot restore '{name}'"),
        };
        match outcome {
            Ok(outcome) => {
                let restore = self.summary(&outcome, &skipped, seconds);
                let lack = outcome.lack(&name, &skipped.absent);
                let mut details = restore.clone();
                if let Some(lack) = &lack {
                    details["reason"] = lack.clone().into();
                }
                let recorded = self.record(&backup, wanted, lack.is_none(), &details);
                let (backup, failure) = match recorded {
                    Ok(current) => (current, None),
                    Err(error) => (backup, Some(error)),
                };
                if !matches!(self.settings.to, To::Stdout(_)) {
                    let listed = Listed::stat(&self.home, backup);
                    let listed = listed.with([("restore", restore)], object);
                    report.add(&listed, row(&listed))?;
                }
                let what = || format!("'{name}' was restored, but that cannot be recorded");
                failure.map_or(Ok(()), Err).with_context(what)?;
                lack.map_or(Ok(()), |lack| Err(anyhow!(lack)))
            }
            Err(error) => {
                let error = match self.signals.caught() {
                    Some(signal) => anyhow!("interrupted by signal {signal}"),
                    None => error,
                };
                let reason = bk_cli::one_line(&format!("{error:#}"));
                let recorded = self.record(&backup, wanted, false, &json!({ "reason": reason }));
                if let Err(error) = recorded {
                    PROGRAM.warn(&format!("cannot record the failure: {error:#}"));
                }
                Err(error.context(cannot))
            }
        }
    }

    fn work(&self, backup: &Backup, wanted: &Wanted, watch: &Watch) -> Result<Outcome> {
        let work = Work {
            settings: &self.settings,
            home: &self.home,
            backup,
            wanted,
            watch,
        };
        if self.settings.is_dry_run {
            return preview::preview(&work);
        }
        match &self.settings.to {
            To::Directory(dir, existing) => work.to_directory(dir, *existing),
            To::Source => work.to_source(),
            To::Test(scratch) => trial::test(&work, scratch),
            To::Stdout(path) => {
                let opened = work.open()?;
                // A bar would stand in the middle of the file on a terminal.
                watch.progress.end();
                let (archive, jobs) = (&opened.file, self.settings.jobs);
                let bytes = print::print(archive, is_in_order(backup), jobs, path, watch)?;
                Ok(Outcome {
                    entries: 1,
                    bytes,
                    ..Outcome::default()
                })
            }
        }
    }

    /// The object `restore` of a line.
    fn summary(&self, outcome: &Outcome, skipped: &Skipped, seconds: f64) -> Value {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let places = outcome
            .placed
            .iter()
            .map(|(path, kept)| json!({ "path": text(path), "kept": kept.as_deref().map(text) }));
        let places: Vec<_> = places.collect();
        let target = match outcome.placed.as_slice() {
            [(one, _)] => Some(text(one)),
            _ => None,
        };
        let mut summary = json!({
            "target": target,
            "entries": outcome.entries,
            "bytes": outcome.bytes,
            "seconds": (seconds * 1000.0).round() / 1000.0,
            "skipped": skipped.count,
        });
        if !skipped.listed.is_empty() {
            summary["skipped_entries"] = skipped.listed.clone().into();
        }
        if !skipped.unsupported.is_empty() {
            summary["not_held"] = json!(skipped.unsupported);
        }
        if self.settings.is_dry_run {
            summary["dry_run"] = true.into();
        }
        match &self.settings.to {
            To::Test(_) => summary["test"] = true.into(),
            To::Stdout(path) => summary["stdout"] = String::from_utf8_lossy(path).into(),
            _ => summary["places"] = places.into(),
        }
        summary
    }

    /// Adds an event, and the result of a test of the whole backup to the record; returns the record as it is now.
    fn record(
        &self,
        backup: &Backup,
        wanted: &Wanted,
        ok: bool,
        details: &Value,
    ) -> Result<Backup> {
        if self.settings.is_dry_run {
            return Ok(backup.clone());
        }
        let is_test = matches!(self.settings.to, To::Test(_))
            && wanted.selection.is_all()
            && self.signals.caught().is_none();
        catalog::write(&self.home, |session| {
            session.log(&Event::of(backup, "restore", ok, details.clone()))?;
            let found = session.find_ids([backup.id])?;
            // Removed meanwhile.
            let Some(Ok(mut current)) = found.into_iter().next() else {
                return Ok(backup.clone());
            };
            if is_test {
                let test = json!({ "at": self.home.now, "ok": ok });
                let metadata = &mut current.backup_metadata;
                metadata.insert("last_restored_test".into(), test);
                session.update(&current)?;
            }
            Ok(current)
        })
    }
}

fn row(listed: &Listed) -> Vec<Cell> {
    let restore = &listed.passed["restore"];
    let number = |key: &str| restore[key].to_string();
    let targets = restore["places"].as_array().cloned().unwrap_or_default();
    let targets = targets.iter().filter_map(|it| it["path"].as_str());
    let is_test = !restore["test"].is_null();
    let target = match is_test {
        true => "test passed".to_owned(),
        false => targets.collect::<Vec<_>>().join(", "),
    };
    vec![
        listed.backup.id.to_string().into(),
        listed.backup.backup_name.clone().into(),
        number("entries").into(),
        human_size(restore["bytes"].as_u64().unwrap_or_default()).into(),
        number("skipped").into(),
        target.into(),
    ]
}
