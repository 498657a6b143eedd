//! The jobs in the catalog: read with their last runs, changed, taken away.
//!
//! Runs none.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bk_schema::event::LedgerRow;
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::session::Session;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::change::Change;
use crate::due::Begun;
use crate::job::{Job, PREFIX, Settings, split_name};

/// The event of a run in the ledger; the first of its details is `job`.
pub(crate) const EVENT: &str = "auto";

/// A job with its last run.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) job: Job,
    pub(crate) last: Option<LedgerRow>,
}

impl Known {
    /// The time for which it is to run now.
    pub(crate) fn due(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let begun = Begun {
            since: self.job.since,
            last_run: self.last_run(),
        };
        let is_enabled = self.job.is_enabled;
        is_enabled.then(|| self.job.schedule.due(begun, now, zone))?
    }

    /// When the last run began: the times of the schedule that came during it are still to be run
    /// for.
    pub(crate) fn last_run(&self) -> Option<Timestamp> {
        let last = self.last.as_ref()?;
        let began = last.details.get("began").and_then(Value::as_str);
        let began = began.and_then(|text| text.parse().ok());
        Some(began.unwrap_or(last.happened_at))
    }

    /// The time for which it is to run next: one that has come and was not run for, or the next.
    pub(crate) fn next(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let is_enabled = self.job.is_enabled;
        let coming = || is_enabled.then(|| self.job.schedule.next(now, zone))?;
        self.due(now, zone).or_else(coming)
    }
}

/// Every job by its name, or what is wrong with its settings.
type All = BTreeMap<String, Result<Known>>;

/// # Errors
/// Those of the catalog.
pub(crate) fn read(home: &Home) -> Result<All> {
    catalog::read(home, all)
}

/// One job, as it is now.
///
/// # Errors
/// Those of the catalog, no such job, one whose settings are wrong.
pub(crate) fn read_one(home: &Home, name: &str) -> Result<Known> {
    let known = read(home)?.remove(name);
    known.unwrap_or_else(|| Err(unknown(name)))
}

fn all(session: &Session<'_>) -> Result<All> {
    let mut runs: BTreeMap<String, LedgerRow> = BTreeMap::new();
    for entry in session.last_events(EVENT)? {
        if let Some(Value::String(name)) = entry.details.get("job") {
            runs.insert(name.clone(), entry);
        }
    }
    let known = |(name, settings): (String, Settings)| {
        let job = Job::from_settings(&name, &settings)
            .with_context(|| format!("cannot use the job '{}'", name.escape_debug()));
        let last = runs.remove(&name);
        (name, job.map(|job| Known { job, last }))
    };
    Ok(settings(session)?.into_iter().map(known).collect())
}

fn settings(session: &Session<'_>) -> Result<BTreeMap<String, Settings>> {
    let mut jobs: BTreeMap<String, Settings> = BTreeMap::new();
    for (name, value) in session.settings(PREFIX)? {
        if let Some((job, key)) = split_name(&name) {
            let job = jobs.entry(job.to_owned()).or_default();
            job.insert(key.to_owned(), value);
        }
    }
    Ok(jobs)
}

fn unknown(name: &str) -> anyhow::Error {
    let name = name.escape_debug();
    anyhow::anyhow!("there is no job '{name}': bk-auto --list prints those that there are")
}

/// Makes the changes, all or none, and returns the jobs that they are about.
///
/// # Errors
/// Those of the catalog, and of the change.
pub(crate) fn change(home: &Home, changes: &[Change]) -> Result<Vec<Known>> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    if !home.has_catalog() {
        // No catalog is made for jobs that cannot be.
        let mut fresh = BTreeMap::new();
        for change in changes {
            let job = change.of(fresh.remove(&change.name), home.now)?;
            fresh.insert(change.name.clone(), job);
        }
    }
    catalog::write(home, |session| {
        for change in changes {
            let old = settings(session)?.remove(&change.name);
            // What is wrong with the old one does not matter where all of it is new.
            let old = old.map(|old| Job::from_settings(&change.name, &old));
            let old = match old {
                Some(Err(_)) if change.schedule.is_some() && change.sources.is_some() => None,
                other => other.transpose().with_context(|| {
                    format!("cannot change the job '{}'", change.name.escape_debug())
                })?,
            };
            let job = change.of(old, home.now)?;
            for (name, value) in job.to_settings() {
                match value {
                    Some(value) => session.set_setting(&name, &value)?,
                    None => session.remove_setting(&name)?,
                }
            }
        }
        changed(session, changes.iter().map(|it| it.name.as_str()))
    })
}

/// Enables or disables jobs, all or none.
///
/// # Errors
/// Those of the catalog, and a job that there is not.
pub(crate) fn switch(home: &Home, names: &[String], is_enabled: bool) -> Result<Vec<Known>> {
    catalog::check_there(home)?;
    let change = |name: &String| Change {
        name: name.clone(),
        is_enabled: Some(is_enabled),
        ..Change::default()
    };
    let there = read(home)?;
    for name in names {
        there.get(name).ok_or_else(|| unknown(name))?;
    }
    self::change(home, &names.iter().map(change).collect::<Vec<_>>())
}

/// Takes jobs away, all or none, and returns those whose settings were right.
///
/// # Errors
/// Those of the catalog, and a job that there is not.
pub(crate) fn remove(home: &Home, names: &[String]) -> Result<Vec<Known>> {
    catalog::check_there(home)?;
    catalog::write(home, |session| {
        let there = settings(session)?;
        for name in names {
            there.get(name).ok_or_else(|| unknown(name))?;
        }
        let gone = changed(session, names.iter().map(String::as_str))?;
        for (setting, _) in session.settings(PREFIX)? {
            if split_name(&setting).is_some_and(|(job, _)| names.iter().any(|name| name == job)) {
                session.remove_setting(&setting)?;
            }
        }
        Ok(gone)
    })
}

fn changed<'a>(session: &Session<'_>, names: impl Iterator<Item = &'a str>) -> Result<Vec<Known>> {
    let mut all = all(session)?;
    let known = names.filter_map(|name| all.remove(name));
    Ok(known.flatten().collect())
}
