//! The program: reads the catalog once, inspects the file systems, sums up, prints.
//!
//! The catalog is closed before the first directory is inspected and the first line printed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bk_cli::{Arguments, Output, UsageError, units, unread};
use bk_jobs::run::EVENT;
use bk_jobs::settings::{PREFIX, Settings, by_job};
use bk_schema::clock;
use bk_schema::copy::BackupCopy;
use bk_schema::event::LedgerRow;
use bk_schema::host::Host;
use bk_schema::record::Backup;
use bk_schema::visible::visible;
use bk_store::history::Wanted;
use bk_store::{Home, catalog};
use jiff::Timestamp;

use crate::disks::{Disks, Stored, has_archive};
use crate::flags::{PROGRAM, PROMETHEUS, RESERVE};
use crate::growth::{self, SizeChange};
use crate::summary::{Facts, Flow, summaries};
use crate::threshold::Threshold;
use crate::{alerts, jobs, locations, prometheus, table};

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, mut output: Output) -> Result<u8> {
    let now = home.now;
    let thresholds = Threshold::from_flags(arguments, now)?;
    let reserve_bytes = arguments.parsed(&RESERVE, units::parse_size)?;
    let is_prometheus = arguments.has(&PROMETHEUS);
    let others = [bk_cli::JSON, bk_cli::TABLE, bk_cli::WIDE];
    if is_prometheus && others.iter().any(|flag| arguments.has(flag)) {
        let text = "--prometheus excludes --json, --table and --wide";
        return Err(UsageError(text.into()).into());
    }
    unread::check_no_record("bk-df always reports all backups; use </dev/null to ignore them")?;

    let data = CatalogData::read(&home, now)?;
    if let Some(text) = clock::warning(&data.backups, now) {
        PROGRAM.warn(&text);
    }
    let changes = growth::changes(&data.events, data.backups.iter());
    let (disks, stored) = Disks::inspect(&home, &data.storage, data.backups);
    warn_of_unreachable(&disks, &stored);
    let flows: Vec<_> = changes
        .iter()
        .map(|it| flow(it, &disks, &data.storage))
        .collect();
    let mut all = summaries(&Facts {
        file_systems: &disks.all,
        stored: &stored,
        flows: &flows,
        ledger_since: data.ledger_since,
        reserve_bytes,
        here: &data.here,
        now,
    });
    let mut jobs = jobs::lines(&jobs::Facts {
        settings: &data.jobs,
        last_runs: &data.last_runs,
        last_successes: &data.last_successes,
        stored: &stored,
        accepted: &data.accepted,
        here: &data.here,
        now,
        zone: &bk_cli::zone::local(),
    });
    let backups = stored.iter().map(|it| &it.backup);
    let mut locations = locations::lines(&data.locations, &data.copies, backups, now);
    let checked = alerts::check(&thresholds, &all, &jobs, &locations);
    alerts::add(&checked, &mut all, &mut jobs, &mut locations);
    for it in &checked {
        if let Some(text) = &it.crossed {
            let (level, spec) = (it.threshold.level.name(), &it.threshold.spec);
            PROGRAM.warn(&format!("{level}: {spec}: {text}"));
        }
    }
    if is_prometheus {
        let text = prometheus::text(&all, &jobs, &locations, &checked);
        // The format does not escape control characters, which a terminal would obey.
        if std::io::stdout().is_terminal() {
            let lines: Vec<_> = text.lines().map(visible).collect();
            output.text(&(lines.join("\n") + "\n"))?;
        } else {
            output.text(&text)?;
        }
        output.flush()?;
    } else if output.is_table() {
        table::print(&mut output, &all, &jobs, &locations)?;
    } else {
        // The total stays the last line.
        let (each, total) = all.split_at(all.len() - 1);
        each.iter().try_for_each(|it| output.line(it))?;
        jobs.iter().try_for_each(|it| output.line(it))?;
        locations.iter().try_for_each(|it| output.line(it))?;
        total.iter().try_for_each(|it| output.line(it))?;
        output.flush()?;
    }
    Ok(alerts::status(&checked, data.status))
}

/// Everything that is read from the catalog.
struct CatalogData {
    storage: PathBuf,
    /// Oldest first.
    backups: Vec<Backup>,
    events: Vec<LedgerRow>,
    ledger_since: Option<Timestamp>,
    jobs: BTreeMap<String, Settings>,
    /// The last run of each job, and the last one that succeeded.
    last_runs: Vec<LedgerRow>,
    last_successes: Vec<LedgerRow>,
    /// The ids of backups whose small size was taken as right.
    accepted: BTreeSet<i64>,
    /// The names of the locations, and what is known of copies.
    locations: Vec<String>,
    copies: Vec<BackupCopy>,
    here: Host,
    /// The exit status: whether all records could be read.
    status: u8,
}

impl CatalogData {
    fn read(home: &Home, now: Timestamp) -> Result<Self> {
        let wanted = Wanted {
            since: Some(growth::before(now, growth::LONGEST_DAYS)),
            events: growth::EVENTS.map(str::to_owned).to_vec(),
            is_ok: Some(true),
            ..Wanted::default()
        };
        let (rows, copies, mut data) = catalog::read(home, |session| {
            let data = Self {
                storage: session.storage_dir()?,
                backups: Vec::new(),
                // A damaged row does not count; bk-log reports it.
                events: session.events(&wanted)?.into_iter().flatten().collect(),
                ledger_since: session.ledger_since()?,
                jobs: by_job(session.settings(PREFIX)?),
                last_runs: session.last_events(EVENT)?,
                last_successes: session.last_successes(EVENT)?,
                accepted: session.accepted()?,
                locations: session.locations()?.into_iter().map(|it| it.0).collect(),
                copies: Vec::new(),
                here: session.host()?,
                status: bk_cli::SUCCESS,
            };
            Ok((session.backups()?, session.all_copies()?, data))
        })?;
        let rows = rows
            .into_iter()
            .map(|row| row.context("cannot count a backup"));
        data.backups = PROGRAM.report_errors(rows, &mut data.status).collect();
        let copies = copies
            .into_iter()
            .map(|row| row.context("cannot count a copy"));
        data.copies = PROGRAM.report_errors(copies, &mut data.status).collect();
        Ok(data)
    }
}

fn warn_of_unreachable(disks: &Disks, stored: &[Stored]) {
    for (place, file_system) in disks.all.iter().enumerate() {
        let Err(error) = &file_system.space else {
            continue;
        };
        let is_lost = |it: &&Stored| it.place == place && has_archive(&it.backup) && !it.is_remote;
        let lost: Vec<_> = stored.iter().filter(is_lost).collect();
        let count = lost.len();
        PROGRAM.warn(&if lost.iter().any(|it| it.is_offline) {
            format!("warning: {error} ({count})")
        } else {
            format!("warning: {error}: its archives count as missing ({count})")
        });
    }
}

/// A change at its file system. Without a path it counts for the present storage directory.
fn flow(change: &SizeChange, disks: &Disks, storage: &Path) -> Flow {
    let SizeChange { at, bytes, .. } = *change;
    let place = match &change.path {
        Some(path) => disks.place_of(path),
        None => disks.place_of(&storage.join("archive").to_string_lossy()),
    };
    Flow { at, bytes, place }
}
