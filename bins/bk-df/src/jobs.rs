//! What is known of each job: how it last ran, its newest backup and whether that has its usual
//! size, and whether it is overdue. A pure function of the catalog's data and of what is on the disks.
//!
//! Knows no SQL, no clock and no files. The keys are a contract: they only grow.

use std::collections::{BTreeMap, BTreeSet};

use bk_jobs::run::Run;
use bk_jobs::settings::{Settings, makes_backups};
use bk_jobs::timing::Timing;
use bk_schema::clock;
use bk_schema::event::LedgerRow;
use bk_schema::host::Host;
use bk_schema::metadata::SHRUNK;
use bk_schema::record::{Backup, BackupType, Status};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;

use crate::disks::{Stored, has_archive};
use crate::summary::Brief;
use crate::threshold::Alert;

/// The number of backups whose median is the usual size.
const USUAL_LEN: usize = 10;

/// The input.
pub(crate) struct Facts<'a> {
    /// Of each job that there is.
    pub(crate) settings: &'a BTreeMap<String, Settings>,
    /// The last run of each job, and the last one that succeeded; also of jobs that are gone.
    pub(crate) last_runs: &'a [LedgerRow],
    pub(crate) last_successes: &'a [LedgerRow],
    /// Oldest first.
    pub(crate) stored: &'a [Stored],
    /// The ids of those whose small size was taken as right.
    pub(crate) accepted: &'a BTreeSet<i64>,
    /// The host of this home.
    pub(crate) here: &'a Host,
    pub(crate) now: Timestamp,
    pub(crate) zone: &'a TimeZone,
}

/// One line of output; bk-record(5) describes the keys.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct JobLine {
    pub(crate) job: String,
    pub(crate) enabled: bool,
    /// Else it verifies, tests or prunes.
    pub(crate) makes_backups: bool,
    pub(crate) settings_error: Option<String>,
    pub(crate) last_run: Option<Timestamp>,
    pub(crate) last_outcome: Option<String>,
    pub(crate) last_reason: Option<String>,
    pub(crate) last_warning: Option<String>,
    pub(crate) last_success: Option<Timestamp>,
    pub(crate) newest: Option<Brief>,
    pub(crate) content_bytes: Option<u64>,
    pub(crate) content_median_bytes: Option<u64>,
    pub(crate) content_change_percent: Option<f64>,
    pub(crate) next_due: Option<Timestamp>,
    pub(crate) due_since: Option<Timestamp>,
    pub(crate) overdue_seconds: Option<i64>,
    pub(crate) alerts: Vec<Alert>,
    /// Whether it has some and no archive of them is there.
    #[serde(skip)]
    pub(crate) is_lost: bool,
}

/// A line for each job, by name.
pub(crate) fn lines(facts: &Facts<'_>) -> Vec<JobLine> {
    let runs = by_job(facts.last_runs);
    let successes = by_job(facts.last_successes);
    let mut backups: BTreeMap<&str, Vec<&Stored>> = BTreeMap::new();
    for it in facts.stored.iter().filter(|it| facts.is_meant(&it.backup)) {
        let job = it.backup.job().unwrap_or_default();
        backups.entry(job).or_default().push(it);
    }
    let line = |(name, settings): (&String, &Settings)| {
        let name = name.as_str();
        let success = successes.get(name).map(|run| run.began());
        JobLine {
            job: name.to_owned(),
            last_success: success,
            makes_backups: makes_backups(settings),
            ..JobLine::default()
        }
        .with_run(runs.get(name).copied())
        .with_timing(settings, runs.get(name).copied(), facts)
        .with_backups(&backups.remove(name).unwrap_or_default(), facts.accepted)
    };
    facts.settings.iter().map(line).collect()
}

fn by_job(rows: &[LedgerRow]) -> BTreeMap<&str, Run<'_>> {
    let runs = rows.iter().filter_map(Run::of);
    runs.map(|run| (run.job(), run)).collect()
}

impl Facts<'_> {
    /// Whether a backup counts for its job: one that bk-auto made here and whose age is known.
    fn is_meant(&self, backup: &Backup) -> bool {
        backup.backup_type == BackupType::Automatic
            && has_archive(backup)
            && self.here.has(backup)
            && !clock::is_in_future(backup.created_at, self.now)
    }
}

impl JobLine {
    fn with_run(self, run: Option<Run<'_>>) -> Self {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Self {
            last_run: run.map(Run::began),
            last_outcome: text(run.map(Run::outcome)),
            last_reason: text(run.and_then(Run::reason)),
            last_warning: text(run.and_then(Run::warning)),
            ..self
        }
    }

    fn with_timing(self, settings: &Settings, run: Option<Run<'_>>, facts: &Facts<'_>) -> Self {
        let timing = match Timing::of(settings) {
            Ok(timing) => timing,
            Err(error) => {
                // Nobody disabled it, so it is to run, and cannot.
                let enabled = settings.get("enabled").map(String::as_str);
                return Self {
                    enabled: !matches!(enabled, Some("false" | "0") | None),
                    settings_error: Some(format!("{error:#}")),
                    ..self
                };
            }
        };
        let done_until = run.and_then(Run::done_until);
        let due_since = timing.due_since(done_until, facts.now, facts.zone);
        let overdue = due_since.map_or(0, |since| facts.now.duration_since(since).as_secs());
        Self {
            enabled: timing.is_enabled,
            next_due: timing.next(done_until, facts.now, facts.zone),
            due_since,
            overdue_seconds: Some(overdue),
            ..self
        }
    }

    /// Of complete backups, oldest first. The newest is one that can be restored; for the usual size
    /// it does not matter where the archives are. One that is far smaller is not usual, however many
    /// of its kind there are, until it is accepted; then a new usual size begins with it.
    fn with_backups(self, all: &[&Stored], accepted: &BTreeSet<i64>) -> Self {
        let is_whole = |it: &&Stored| it.is_there || it.backup.status == Status::Moving;
        let Some(at) = all.iter().rposition(is_whole) else {
            return Self {
                is_lost: !all.is_empty(),
                ..self
            };
        };
        let newest = &all[at].backup;
        let is_accepted = |it: &&Stored| accepted.contains(&it.backup.id);
        let from = all[..=at].iter().rposition(is_accepted).unwrap_or(0);
        let is_usual = |it: &&&Stored| !it.backup.backup_metadata.contains_key(SHRUNK);
        let before = all[from..at].iter().rev().filter(is_usual);
        let sizes = before.filter_map(|it| content(&it.backup)).take(USUAL_LEN);
        let median = median(sizes.collect());
        let content = content(newest);
        Self {
            newest: Some(Brief::of(newest)),
            content_bytes: content,
            content_median_bytes: median,
            content_change_percent: content
                .zip(median)
                .and_then(|(content, median)| change_percent(content, median)),
            ..self
        }
    }

    /// Why it does not do its work; `None` if it does, or has not had to yet.
    pub(crate) fn failure(&self) -> Option<&str> {
        let is_failed = self.last_outcome.as_deref() == Some("failed");
        let reason = self
            .last_reason
            .as_deref()
            .unwrap_or("the ledger has no reason");
        self.settings_error
            .as_deref()
            .or(is_failed.then_some(reason))
    }
}

/// The bytes of a backup's content; an archive that was adopted does not tell them.
fn content(backup: &Backup) -> Option<u64> {
    let bytes = backup.backup_metadata.get("content_bytes");
    bytes.and_then(Value::as_u64)
}

/// The value in the middle, or between the two in the middle.
fn median(mut all: Vec<u64>) -> Option<u64> {
    all.sort_unstable();
    let high = *all.get(all.len() / 2)?;
    Some(all[(all.len() - 1) / 2].midpoint(high))
}

/// With one decimal; `None` where there was nothing before.
fn change_percent(content: u64, median: u64) -> Option<f64> {
    let change = (content as f64 - median as f64) * 1000.0 / median as f64;
    (median > 0).then(|| change.round() / 10.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bk_jobs::run::EVENT;
    use proptest::prelude::*;
    use serde_json::json;

    /// Noon of the 24th of November.
    fn now() -> Timestamp {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    fn hours_ago(hours: i64) -> Timestamp {
        now() - jiff::SignedDuration::from_hours(hours)
    }

    /// A backup of the job `db`, made so many hours ago.
    fn stored(hours: i64, content_bytes: Option<u64>) -> Stored {
        let backup = serde_json::from_value(json!({
            "id": 1000 - hours, "backup_name": format!("db-{hours}"), "backup_type": "automatic",
            "status": "completed", "source_version": null, "backup_path": "/b/it", "backup_size": 1,
            "file_count": 1, "compression_type": "gzip", "backup_hash": null, "description": null,
            "backup_metadata": {"job": "db", "host": "here", "content_bytes": content_bytes},
            "protected": false, "created_at": hours_ago(hours), "expires_at": null
        }));
        Stored {
            backup: backup.unwrap(),
            place: 0,
            bytes: 1,
            is_there: true,
            is_offline: false,
            is_remote: false,
        }
    }

    fn row(outcome: &str, hours: i64, details: Value) -> LedgerRow {
        let mut all = json!({"job": "db", "began": hours_ago(hours)});
        let all = all.as_object_mut().unwrap();
        all.extend(details.as_object().unwrap().clone());
        LedgerRow {
            id: 1,
            happened_at: hours_ago(hours),
            program: "bk-auto".into(),
            backup_id: None,
            backup_name: None,
            event: EVENT.into(),
            outcome: outcome.into(),
            details: all.clone(),
        }
    }

    /// What is told of the job `db`, which is to run every day at three.
    fn told(
        settings: &[(&str, &str)],
        runs: [Vec<LedgerRow>; 2],
        stored: &[Stored],
        accepted: &[i64],
    ) -> Option<JobLine> {
        let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let settings: Settings = settings.iter().map(text).collect();
        let settings = BTreeMap::from([("db".to_owned(), settings)]);
        let [last_runs, last_successes] = runs;
        let here = Host {
            name: "here".into(),
            earlier: Vec::new(),
        };
        let mut lines = lines(&Facts {
            settings: &settings,
            last_runs: &last_runs,
            last_successes: &last_successes,
            stored,
            accepted: &accepted.iter().copied().collect(),
            here: &here,
            now: now(),
            zone: &TimeZone::UTC,
        });
        lines.pop()
    }

    const NIGHTLY: [(&str, &str); 3] = [
        ("schedule", "0 3 * * *"),
        ("enabled", "true"),
        ("since", "2026-11-01T00:00:00Z"),
    ];

    fn of_backups(stored: &[Stored]) -> JobLine {
        told(&NIGHTLY, [vec![], vec![]], stored, &[]).unwrap()
    }

    #[test]
    fn a_job_tells_how_it_ran_and_since_when_it_is_due() {
        let runs = [
            vec![row("failed", 9, json!({"reason": "no space"}))],
            vec![row("ok", 33, json!({"warning": "odd"}))],
        ];
        let line = told(&NIGHTLY, runs.clone(), &[], &[]).unwrap();
        assert_eq!(line.last_run, Some(hours_ago(9)));
        assert_eq!(line.last_success, Some(hours_ago(33)));
        assert_eq!(line.failure(), Some("no space"));
        assert_eq!((line.due_since, line.overdue_seconds), (None, Some(0)));
        assert_eq!(line.next_due, Some(hours_ago(-15)));

        // Two nights were missed.
        let late = [vec![row("ok", 50, json!({}))], vec![]];
        let line = told(&NIGHTLY, late, &[], &[]).unwrap();
        assert_eq!(
            (line.failure(), line.due_since),
            (None, Some(hours_ago(33)))
        );
        assert_eq!(line.overdue_seconds, Some(33 * 3600));
        assert_eq!(line.next_due, Some(hours_ago(9)));

        let off = [("schedule", "0 3 * * *"), ("enabled", "false")];
        let line = told(&off, runs, &[], &[]).unwrap();
        assert_eq!((line.enabled, line.next_due), (false, None));
    }

    #[test]
    fn a_job_whose_settings_are_wrong_cannot_run_unless_it_is_disabled() {
        for (settings, enabled) in [
            (&[("enabled", "true")][..], true),
            (&[("enabled", "perhaps"), ("schedule", "@daily")], true),
            (&[("enabled", "false"), ("schedule", "never")], false),
            (&[("schedule", "never")], false),
        ] {
            let line = told(settings, [vec![], vec![]], &[stored(3, None)], &[]).unwrap();
            assert_eq!(line.enabled, enabled, "{settings:?}");
            assert_eq!(line.failure(), line.settings_error.as_deref());
            assert!(line.settings_error.is_some() && line.newest.is_some());
            assert_eq!((line.next_due, line.overdue_seconds), (None, None));
        }
    }

    #[test]
    fn only_what_the_job_made_here_and_what_is_there_is_its_newest_backup() {
        let newest = |change: fn(&mut Backup)| {
            let mut all = [stored(20, Some(10)), stored(10, Some(30))];
            change(&mut all[1].backup);
            of_backups(&all).newest.unwrap().backup_name
        };
        assert_eq!(newest(|_| {}), "db-10");
        let mut lost = stored(10, None);
        lost.is_there = false;
        assert!(of_backups(&[lost]).is_lost && !of_backups(&[]).is_lost);
        assert_eq!(newest(|it| it.status = Status::Moving), "db-10");
        assert_eq!(newest(|it| it.status = Status::Failed), "db-20");
        assert_eq!(newest(|it| it.backup_type = BackupType::Manual), "db-20");
        assert_eq!(newest(|it| it.created_at = hours_ago(-1)), "db-20");
        for (key, value) in [("job", "other"), ("host", "there")] {
            let mut all = [stored(20, Some(10)), stored(10, Some(30))];
            let metadata = &mut all[1].backup.backup_metadata;
            metadata.insert(key.into(), value.into());
            assert_eq!(of_backups(&all).newest.unwrap().backup_name, "db-20");
        }
        // One that is missing is no backup, but its size was usual all the same.
        let mut all = [stored(30, Some(10)), stored(20, Some(30)), stored(10, None)];
        all[1].is_there = false;
        let line = of_backups(&all);
        assert_eq!(line.newest.unwrap().backup_name, "db-10");
        assert_eq!(
            (line.content_bytes, line.content_median_bytes),
            (None, Some(20))
        );
        all[2].is_there = false;
        let line = of_backups(&all);
        assert_eq!(line.newest.unwrap().backup_name, "db-30");
        assert_eq!(
            (line.content_bytes, line.content_median_bytes),
            (Some(10), None)
        );
    }

    #[test]
    fn a_size_is_held_against_the_median_of_the_ten_before() {
        let of = |sizes: &[Option<u64>]| {
            let hours = (1..).take(sizes.len()).map(|at| 100 - at);
            let all: Vec<_> = hours
                .zip(sizes)
                .map(|(at, size)| stored(at, *size))
                .collect();
            let line = of_backups(&all);
            (line.content_median_bytes, line.content_change_percent)
        };
        assert_eq!(of(&[Some(7)]), (None, None));
        assert_eq!(of(&[Some(0), Some(7)]), (Some(0), None));
        assert_eq!(of(&[Some(7), None]), (Some(7), None));
        assert_eq!(of(&[Some(4000), Some(5)]), (Some(4000), Some(-99.9)));
        assert_eq!(
            of(&[Some(3), None, Some(6), Some(9)]),
            (Some(4), Some(125.0))
        );
        // The first two are of long ago.
        let mut sizes = vec![Some(1); 2];
        sizes.extend([Some(8); 5]);
        sizes.extend([Some(10); 6]);
        assert_eq!(of(&sizes), (Some(9), Some(11.1)));
    }

    #[test]
    fn what_shrank_is_never_usual_however_often_it_is_repeated() {
        let good = (30..40).map(|hours| stored(hours, Some(4000)));
        let shrunk = (10..18).map(|hours| {
            let mut it = stored(hours, Some(5));
            let metadata = &mut it.backup.backup_metadata;
            metadata.insert(
                SHRUNK.into(),
                json!({"backup_name": "db-30", "content_bytes": 4000}),
            );
            it
        });
        let mut all: Vec<_> = good.chain(shrunk).rev().collect();
        all.sort_by_key(|it| it.backup.created_at);
        let of = |all: &[Stored]| {
            let line = of_backups(all);
            (line.content_median_bytes, line.content_change_percent)
        };
        for count in 11..=18 {
            assert_eq!(of(&all[..count]), (Some(4000), Some(-99.9)), "{count}");
        }
        // What has its size again has not grown.
        all.push(stored(9, Some(4000)));
        assert_eq!(of(&all), (Some(4000), Some(0.0)));
    }

    #[test]
    fn a_size_that_was_accepted_is_the_usual_one_from_then_on() {
        let sizes = [(90, 4000), (80, 5000), (70, 9), (60, 11), (50, 10)];
        let all: Vec<_> = sizes.map(|(hours, size)| stored(hours, Some(size))).into();
        let median = |count: usize, accepted: &[i64]| {
            let line = told(&NIGHTLY, [vec![], vec![]], &all[..count], accepted);
            line.unwrap().content_median_bytes
        };
        // The id is a thousand less the hours.
        assert_eq!([median(3, &[]), median(3, &[930])], [Some(4500), None]);
        assert_eq!(
            [median(5, &[]), median(5, &[920, 930])],
            [Some(2005), Some(10)]
        );
    }

    proptest! {
        #[test]
        fn a_median_has_as_many_below_as_above(all in prop::collection::vec(any::<u64>(), 0..12)) {
            let Some(median) = median(all.clone()) else {
                prop_assert!(all.is_empty());
                return Ok(());
            };
            let half = all.len() / 2;
            prop_assert!(all.iter().filter(|it| **it < median).count() <= half);
            prop_assert!(all.iter().filter(|it| **it > median).count() <= half);
        }
    }
}
