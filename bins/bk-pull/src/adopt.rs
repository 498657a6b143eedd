//! `--adopt`: records what the location holds in the catalog, without the archives.
//!
//! Brings nothing back. The sidecars are read while no catalog is open; what is done is decided in the session
//! that records it, so that two processes adopt each backup once.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use bk_cli::listing::{self, Listed};
use bk_cli::{Arguments, Cell, Column, Cut, Output, Progress, Report, UsageError, zone};
use bk_offsite::Destination;
use bk_schema::copy::BackupCopy;
use bk_schema::event::Event;
use bk_schema::record::Backup;
use bk_store::{Home, Session, Signals, catalog};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::flags::{DRY_RUN, PROGRAM};
use crate::hosts::{self, Hosts};
use crate::plan::{Decision, Index, Storage};
use crate::sidecars::{self, Sidecar};

/// So many are recorded together: the catalog is free in between.
const PART_MAX: usize = 500;

const COLUMNS: [Column; 6] = [
    Column::left("ACTION"),
    listing::ID,
    listing::CREATED,
    Column::right("SIZE").leaves(2),
    Column::left("NAME").cut(Cut::Middle, 12),
    Column::left("KEY").cut(Cut::Middle, 12),
];

pub(crate) fn run(
    arguments: &Arguments,
    home: &Home,
    destination: &Destination,
    location: &str,
    output: Output,
) -> Result<u8> {
    ensure!(
        arguments.operands.len() == 1,
        UsageError("--adopt takes a location and nothing else".into())
    );
    let Hosts::One(host) = Hosts::new(arguments, home)? else {
        return Err(UsageError("--adopt takes one host".into()).into());
    };
    let signals = Signals::watch()?;
    let place = destination.open(&signals, &Progress::new(&PROGRAM))?;
    let mut status = bk_cli::SUCCESS;
    let read = sidecars::read(
        place.as_ref(),
        std::slice::from_ref(&host),
        &mut |_, error| {
            PROGRAM.warn(&format!("'{location}': {error:#}"));
            status = bk_cli::SOME_FAILED;
        },
    );
    let all = match read {
        Err(_) if signals.caught().is_some() => return Ok(signals.exit_status(status)),
        all => all?,
    };
    if all.is_empty() && status == bk_cli::SUCCESS {
        return Err(hosts::unknown(
            &host,
            location,
            &hosts::all(place.as_ref())?,
        ));
    }
    let mut destination = destination.clone();
    if !arguments.has(&DRY_RUN) {
        destination.settle(home, location, place.as_ref())?;
    }
    let mut work = Work {
        home,
        location,
        destination: &destination,
        storage: storage(home)?,
        report: Report::new(output, &COLUMNS),
        zone: zone::local(),
        status,
        is_empty: true,
    };
    let ended = match arguments.has(&DRY_RUN) {
        true => work.preview(&all),
        false => work.adopt(&all, &signals),
    };
    let printed = work.report.end();
    ended.and(printed)?;
    if work.report.is_table() && work.is_empty && work.status == bk_cli::SUCCESS {
        PROGRAM.warn("there is nothing to do");
    }
    Ok(signals.exit_status(work.status))
}

/// What is in the storage directory: nothing where it is not there.
fn storage(home: &Home) -> Result<Storage> {
    let dir = catalog::read(home, |session| session.storage_dir())?;
    let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    Ok(Storage {
        present: entries.map(|it| it.path()).collect(),
        dir,
    })
}

struct Work<'a> {
    home: &'a Home,
    location: &'a str,
    destination: &'a Destination,
    storage: Storage,
    report: Report,
    zone: TimeZone,
    status: u8,
    is_empty: bool,
}

/// What was done with one record of the location.
struct Outcome {
    action: &'static str,
    /// Its id is 0 in a dry run.
    record: Backup,
    key: String,
}

impl Outcome {
    /// The key `adopt` of a line, and what the ledger keeps.
    fn told(&self, location: &str) -> Value {
        json!({ "action": self.action, "from": self.key, "location": location })
    }
}

impl Work<'_> {
    fn preview(&mut self, all: &[Sidecar]) -> Result<()> {
        let rows = catalog::read(self.home, |session| session.backups())?;
        let mut outcomes = Vec::new();
        let mut index = Index::new(rows, &self.storage, self.location);
        for sidecar in all {
            let (action, record) = match index.decide(&sidecar.held) {
                Decision::Adopt(record) => ("would adopt", record),
                Decision::AddCopy(record) => ("would add the copy", record),
                Decision::AlreadyKnown => continue,
            };
            let key = sidecar.held.copy.key.clone();
            outcomes.push(Outcome {
                action,
                record,
                key,
            });
        }
        outcomes.into_iter().try_for_each(|it| self.add(it))
    }

    fn adopt(&mut self, all: &[Sidecar], signals: &Signals) -> Result<()> {
        for part in all.chunks(PART_MAX) {
            if signals.caught().is_some() {
                break;
            }
            let outcomes = catalog::write(self.home, |session| self.record(session, part))?;
            for outcome in outcomes {
                match outcome {
                    Ok(outcome) => self.add(outcome)?,
                    Err(error) => self.status = PROGRAM.report(&error),
                }
            }
        }
        Ok(())
    }

    fn record(&self, session: &Session<'_>, part: &[Sidecar]) -> Result<Vec<Result<Outcome>>> {
        self.destination.check_current(session, self.location)?;
        session.check_room()?;
        let rows = session.backups()?;
        let ids: HashSet<_> = rows.iter().flatten().map(|it| it.id).collect();
        let copies = session.copies_at(self.location)?.into_iter().flatten();
        // Of a backup whose record was removed here: the same object is to have one row.
        let gone = copies.filter(|it| !ids.contains(&it.backup_id));
        let gone: HashMap<_, _> = gone.map(|it| (it.object_key, it.backup_id)).collect();
        let mut index = Index::new(rows, &self.storage, self.location);
        let mut outcomes = Vec::new();
        for sidecar in part {
            let key = &sidecar.held.copy.key;
            let recorded = match index.decide(&sidecar.held) {
                Decision::Adopt(record) => session
                    .insert(&record)
                    .map(|record| ("adopted", record))
                    .with_context(|| format!("cannot adopt '{}'", key.escape_debug())),
                Decision::AddCopy(record) => Ok(("copy added", record)),
                Decision::AlreadyKnown => continue,
            };
            let (action, mut record) = match recorded {
                Ok(recorded) => recorded,
                Err(error) => {
                    outcomes.push(Err(error));
                    continue;
                }
            };
            if let Some(id) = gone.get(key) {
                session.forget_copies(self.location, &[*id])?;
            }
            let copy = self.copy(sidecar, record.id)?;
            session.adopt_copy(&copy, &sidecar.text)?;
            record.copies.retain(|it| it.location != copy.location);
            record.copies.push(copy);
            let outcome = Outcome {
                action,
                record,
                key: key.clone(),
            };
            let told = outcome.told(self.location);
            session.log(&Event::of(&outcome.record, "adopt", true, told))?;
            outcomes.push(Ok(outcome));
        }
        Ok(outcomes)
    }

    /// It was complete when its record was written beside it.
    fn copy(&self, sidecar: &Sidecar, id: i64) -> Result<BackupCopy> {
        let now = self.home.now;
        let at = sidecar.modified_at.map_or(now, |at| at.min(now));
        // As the catalog stores it.
        let at = Timestamp::from_microsecond(at.as_microsecond())?;
        Ok(sidecar.held.known_at(self.location, id, at))
    }

    fn add(&mut self, outcome: Outcome) -> Result<()> {
        self.is_empty = false;
        let record = &outcome.record;
        let row = vec![
            outcome.action.into(),
            Cell::or_dash((record.id != 0).then(|| record.id.to_string())),
            listing::time(record.created_at, &self.zone).into(),
            listing::size(record).into(),
            record.backup_name.as_str().into(),
            outcome.key.as_str().into(),
        ];
        let told = outcome.told(self.location);
        let has_id = record.id != 0;
        let listed = Listed::stat(self.home, outcome.record);
        let mut line = serde_json::to_value(listed.with([("adopt", told)], Map::new()))?;
        if !has_id {
            line["id"] = Value::Null;
        }
        self.report.add(&line, row)
    }
}
