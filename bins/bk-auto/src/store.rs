//! The jobs in the catalog: reads them with their last runs, changes and removes them.
//!
//! Runs no job.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bk_cli::copies;
use bk_jobs::run::{EVENT, Run};
use bk_jobs::settings::{PREFIX, Settings, by_job, split_name};
use bk_schema::event::LedgerRow;
use bk_store::{Home, Session, catalog};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::change::JobChange;
use crate::job::{Job, Notify};

/// The setting of who is told of all jobs, and that of whether also of a run that went well.
const NOTIFY: &str = "auto_notify";
const NOTIFY_ALWAYS: &str = "auto_notify_always";

/// A job with its last run.
#[derive(Debug, Clone)]
pub(crate) struct JobState {
    pub(crate) job: Job,
    pub(crate) last: Option<LedgerRow>,
    /// Who is told, by the job's own setting or that of all jobs.
    pub(crate) notify: Option<Notify>,
}

impl JobState {
    /// The time of the schedule for which it is to run now.
    pub(crate) fn due(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.job.timing.due(self.done_until(), now, zone)
    }

    /// The time of the schedule for which it is to run next, past or future.
    pub(crate) fn next(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.job.timing.next(self.done_until(), now, zone)
    }

    /// How it last ran.
    pub(crate) fn run(&self) -> Option<Run<'_>> {
        self.last.as_ref().and_then(Run::of)
    }

    /// The row of the ledger for its last run.
    pub(crate) fn last_id(&self) -> Option<i64> {
        self.last.as_ref().map(|row| row.id)
    }

    pub(crate) fn done_until(&self) -> Option<Timestamp> {
        self.run().and_then(Run::done_until)
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
        if let Some(run) = Run::of(&entry) {
            runs.insert(run.job().to_owned(), entry);
        }
    }
    let general = notify(session)?;
    let state = |(name, settings): (String, Settings)| {
        let job = Job::from_settings(&name, &settings)
            .with_context(|| format!("cannot use the job '{}'", name.escape_debug()));
        let last = runs.remove(&name);
        let state = job.map(|job| JobState {
            notify: job.notify.clone().or_else(|| general.clone()),
            job,
            last,
        });
        (name, state)
    };
    Ok(settings(session)?.into_iter().map(state).collect())
}

fn settings(session: &Session<'_>) -> Result<BTreeMap<String, Settings>> {
    Ok(by_job(session.settings(PREFIX)?))
}

fn notify(session: &Session<'_>) -> Result<Option<Notify>> {
    let command = session.setting(NOTIFY)?;
    let is_always = session.setting(NOTIFY_ALWAYS)?.is_some();
    Ok(command.map(|command| Notify { command, is_always }))
}

/// Sets who is told of all jobs that do not say so themselves.
pub(crate) fn set_notify(home: &Home, notify: Option<&Notify>) -> Result<()> {
    catalog::write(home, |session| {
        session.remove_setting(NOTIFY)?;
        session.remove_setting(NOTIFY_ALWAYS)?;
        let Some(notify) = notify else { return Ok(()) };
        session.set_setting(NOTIFY, &notify.command)?;
        match notify.is_always {
            true => session.set_setting(NOTIFY_ALWAYS, "true"),
            false => Ok(()),
        }
    })
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
            copies::check_among(&[], &job.required_copies())?;
            fresh.insert(change.name.clone(), job);
        }
    }
    catalog::write(home, |session| {
        for change in changes {
            let old = settings(session)?.remove(&change.name);
            // An error in the old settings does not matter where all of them are new.
            let old = old.map(|old| Job::from_settings(&change.name, &old));
            let old = match old {
                Some(Err(_)) if change.is_whole() => None,
                other => other.transpose().with_context(|| {
                    format!("cannot change the job '{}'", change.name.escape_debug())
                })?,
            };
            let job = change.apply(old, home.now)?;
            if change.changes_retention() {
                copies::check_known(session, &job.required_copies())?;
            }
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
    names.filter_map(|name| all.remove(name)).collect()
}
