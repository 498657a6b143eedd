//! The jobs in the catalog: reads them with their last runs, changes and removes them.
//!
//! Runs no job.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bk_schema::event::LedgerRow;
use bk_store::{Home, Session, catalog};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::change::JobChange;
use crate::due::CountFrom;
use crate::job::{Job, PREFIX, Settings, split_name};

/// The event of a run in the ledger; its first detail is `job`.
pub(crate) const EVENT: &str = "auto";

/// A job with its last run.
#[derive(Debug, Clone)]
pub(crate) struct JobState {
    pub(crate) job: Job,
    pub(crate) last: Option<LedgerRow>,
}

impl JobState {
    /// The time of the schedule for which it is to run now.
    pub(crate) fn due(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = CountFrom {
            since: self.job.since,
            last_run: self.last_run(),
        };
        let is_enabled = self.job.is_enabled;
        is_enabled.then(|| self.job.schedule.due(from, now, zone))?
    }

    /// When the last run began: times of the schedule that came during that run count.
    pub(crate) fn last_run(&self) -> Option<Timestamp> {
        let last = self.last.as_ref()?;
        let began = last.details.get("began").and_then(Value::as_str);
        let began = began.and_then(|text| text.parse().ok());
        Some(began.unwrap_or(last.happened_at))
    }

    /// The time of the schedule for which it is to run next, past or future.
    pub(crate) fn next(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let is_enabled = self.job.is_enabled;
        let coming = || is_enabled.then(|| self.job.schedule.next(now, zone))?;
        self.due(now, zone).or_else(coming)
    }
}

/// Every job by its name, or the error in its settings.
type All = BTreeMap<String, Result<JobState>>;

pub(crate) fn read(home: &Home) -> Result<All> {
    catalog::read(home, all)
}

/// One job, as it is now.
///
/// # Errors
/// No such job, or one whose settings are wrong.
pub(crate) fn read_one(home: &Home, name: &str) -> Result<JobState> {
    let state = read(home)?.remove(name);
    state.unwrap_or_else(|| Err(unknown(name)))
}

fn all(session: &Session<'_>) -> Result<All> {
    let mut runs: BTreeMap<String, LedgerRow> = BTreeMap::new();
    for entry in session.last_events(EVENT)? {
        if let Some(Value::String(name)) = entry.details.get("job") {
            runs.insert(name.clone(), entry);
        }
    }
    let state = |(name, settings): (String, Settings)| {
        let job = Job::from_settings(&name, &settings)
            .with_context(|| format!("cannot use the job '{}'", name.escape_debug()));
        let last = runs.remove(&name);
        (name, job.map(|job| JobState { job, last }))
    };
    Ok(settings(session)?.into_iter().map(state).collect())
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
    anyhow::anyhow!("there is no job '{name}': 'bk-auto --list' prints all jobs")
}

/// Applies changes, all or none, and returns the changed jobs.
pub(crate) fn apply(home: &Home, changes: &[JobChange]) -> Result<Vec<JobState>> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    if !home.has_catalog() {
        // Fails before a catalog is made.
        let mut fresh = BTreeMap::new();
        for change in changes {
            let job = change.apply(fresh.remove(&change.name), home.now)?;
            fresh.insert(change.name.clone(), job);
        }
    }
    catalog::write(home, |session| {
        for change in changes {
            let old = settings(session)?.remove(&change.name);
            // An error in the old settings does not matter where all of them are new.
            let old = old.map(|old| Job::from_settings(&change.name, &old));
            let old = match old {
                Some(Err(_)) if change.schedule.is_some() && change.sources.is_some() => None,
                other => other.transpose().with_context(|| {
                    format!("cannot change the job '{}'", change.name.escape_debug())
                })?,
            };
            let job = change.apply(old, home.now)?;
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
/// An unknown job.
pub(crate) fn set_enabled(
    home: &Home,
    names: &[String],
    is_enabled: bool,
) -> Result<Vec<JobState>> {
    catalog::check_there(home)?;
    let change = |name: &String| JobChange {
        name: name.clone(),
        is_enabled: Some(is_enabled),
        ..JobChange::default()
    };
    let there = read(home)?;
    for name in names {
        there.get(name).ok_or_else(|| unknown(name))?;
    }
    apply(home, &names.iter().map(change).collect::<Vec<_>>())
}

/// Removes jobs, all or none, and returns those whose settings were right.
///
/// # Errors
/// An unknown job.
pub(crate) fn remove(home: &Home, names: &[String]) -> Result<Vec<JobState>> {
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

fn changed<'a>(
    session: &Session<'_>,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<JobState>> {
    let mut all = all(session)?;
    let states = names.filter_map(|name| all.remove(name));
    Ok(states.flatten().collect())
}
