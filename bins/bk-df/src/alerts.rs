//! Checks the thresholds: pure functions.
//!
//! Free space and days are checked for each file system, what is said of a job for each job, and what is
//! said of a location for that one.
//! Everything else is checked for all backups together: a disk that is full may rightly have no new ones.

use bk_cli::units::human_size;

use crate::jobs::JobLine;
use crate::locations::LocationLine;
use crate::summary::Summary;
use crate::threshold::{Alert, JobLimit, Level, Limit, LocationLimit, Threshold};

/// The exit status if a `--fail` threshold is crossed.
const FAILURE: u8 = 4;

/// A threshold checked against one file system, job or location, or against all backups.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checked<'a> {
    pub(crate) threshold: &'a Threshold,
    pub(crate) about: About,
    /// How it is crossed; `None` if it is not.
    pub(crate) crossed: Option<String>,
}

/// What a threshold was checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum About {
    /// The index of the summary.
    Summary(usize),
    /// The name of the job, be there one or not.
    Job(String),
    /// The name of the location, be there one or not.
    Location(String),
}

/// Checks every threshold against all summaries, jobs or locations that it applies to.
pub(crate) fn check<'a>(
    thresholds: &'a [Threshold],
    summaries: &[Summary],
    jobs: &[JobLine],
    locations: &[LocationLine],
) -> Vec<Checked<'a>> {
    let mut all = Vec::new();
    for threshold in thresholds {
        let results = match &threshold.limit {
            Limit::Job(limit) => check_jobs(limit, jobs),
            Limit::Location(name, limit) => vec![check_location(name, *limit, locations)],
            limit => check_summaries(limit, summaries, jobs),
        };
        all.extend(results.into_iter().map(|(about, crossed)| Checked {
            threshold,
            about,
            crossed,
        }));
    }
    all
}

type Check = (About, Option<String>);
type Checks = Vec<Check>;

fn check_summaries(limit: &Limit, summaries: &[Summary], jobs: &[JobLine]) -> Checks {
    let is_of_each = matches!(
        limit,
        Limit::FreeBytes(_) | Limit::FreePercent(_) | Limit::Days(_)
    );
    let all = summaries.iter().enumerate();
    let meant = all.filter(|(_, summary)| summary.total != is_of_each);
    let check = |(at, summary): (usize, &Summary)| {
        let crossed = match limit {
            Limit::JobsFailed(most) => failed(jobs, *most),
            limit => crossed(limit, summary),
        };
        (About::Summary(at), crossed)
    };
    meant.map(check).collect()
}

fn check_jobs(limit: &JobLimit, jobs: &[JobLine]) -> Checks {
    let check = |job: &JobLine| (About::Job(job.job.clone()), crossed_by(limit, job));
    let Some(name) = limit.job() else {
        let is_meant = |job: &&JobLine| match limit {
            JobLimit::Age(..) => job.enabled && job.makes_backups,
            _ => job.enabled,
        };
        return jobs.iter().filter(is_meant).map(check).collect();
    };
    let found = jobs.iter().find(|it| it.job == name).map(check);
    // Who mistypes a name, or removes the job, is not to believe that all is well.
    let unknown = || {
        let text = format!("there is no job '{}'", name.escape_debug());
        (About::Job(name.to_owned()), Some(text))
    };
    vec![found.unwrap_or_else(unknown)]
}

/// As with jobs, a name that nothing has is no reason to believe that all is well.
fn check_location(name: &str, limit: LocationLimit, locations: &[LocationLine]) -> Check {
    let found = locations.iter().find(|it| it.location == name);
    let crossed = match (found, limit) {
        (None, _) => Some(format!("there is no location '{name}'")),
        (Some(it), LocationLimit::Uncopied(most)) => {
            let count = Some(it.uncopied_count).filter(|count| *count > most);
            count.map(|count| format!("{count} without a copy at '{name}'"))
        }
        (Some(it), LocationLimit::CopyAge(since)) => match &it.newest {
            None => Some(format!("there is no copy at '{name}'")),
            Some(newest) if newest.copied_at < since => {
                let (backup, at) = (newest.backup_name.escape_debug(), newest.copied_at);
                Some(format!(
                    "the newest copy at '{name}', of '{backup}', was made at {at}"
                ))
            }
            Some(_) => None,
        },
    };
    (About::Location(name.to_owned()), crossed)
}

/// Adds the crossed thresholds as alerts: each to its own summary, job or location, and all to the
/// total.
pub(crate) fn add(
    checked: &[Checked<'_>],
    summaries: &mut [Summary],
    jobs: &mut [JobLine],
    locations: &mut [LocationLine],
) {
    for checked in checked {
        let Some(text) = &checked.crossed else {
            continue;
        };
        let alert = || Alert {
            level: checked.threshold.level,
            spec: checked.threshold.spec.clone(),
            text: text.clone(),
        };
        for (at, summary) in summaries.iter_mut().enumerate() {
            if checked.about == About::Summary(at) || summary.total {
                summary.alerts.push(alert());
            }
        }
        for job in jobs.iter_mut() {
            if matches!(&checked.about, About::Job(name) if *name == job.job) {
                job.alerts.push(alert());
            }
        }
        for it in locations.iter_mut() {
            if matches!(&checked.about, About::Location(name) if *name == it.location) {
                it.alerts.push(alert());
            }
        }
    }
}

/// The exit status; `status` if no threshold is crossed.
pub(crate) fn status(checked: &[Checked<'_>], status: u8) -> u8 {
    let crossed = checked.iter().filter(|it| it.crossed.is_some());
    match crossed.map(|it| it.threshold.level).max() {
        Some(Level::Failure) => FAILURE,
        Some(Level::Warning) => bk_cli::SOME_FAILED,
        None => status,
    }
}

/// How a limit is crossed; `None` if it is not.
fn crossed(limit: &Limit, summary: &Summary) -> Option<String> {
    let name = summary.label().escape_debug().to_string();
    let text = match *limit {
        Limit::FreeBytes(_) | Limit::FreePercent(_) | Limit::Days(_)
            if summary.free_bytes.is_none() =>
        {
            match summary.mountpoint {
                Some(_) => format!("'{name}' does not report its free space"),
                None => format!("'{name}' cannot be accessed"),
            }
        }
        Limit::FreeBytes(bytes) => {
            let free = summary.free_bytes.filter(|it| *it < bytes)?;
            format!("'{name}' has {} free", human_size(free))
        }
        Limit::FreePercent(percent) => {
            let (free, size) = (summary.free_bytes?, summary.size_bytes?);
            let hundredfold = u128::from(free) * 100;
            if hundredfold >= u128::from(size) * u128::from(percent) {
                return None;
            }
            format!(
                "'{name}' has {} of {} free",
                human_size(free),
                human_size(size)
            )
        }
        Limit::Days(days) => {
            let left = summary.days_left.filter(|left| *left < days as f64)?;
            format!("'{name}' reaches its reserve in {left:.1} days")
        }
        Limit::Age(since) => match &summary.newest {
            None => "there is no backup".to_owned(),
            Some(newest) if newest.created_at < since => {
                let name = newest.backup_name.escape_debug();
                format!(
                    "the newest backup '{name}' was made at {}",
                    newest.created_at
                )
            }
            Some(_) => return None,
        },
        Limit::Unverified(since) => {
            let last = summary.unverified_since.filter(|last| *last < since)?;
            let worst = summary.longest_unverified.as_ref()?;
            let name = worst.backup_name.escape_debug();
            if last == worst.created_at {
                format!("'{name}' has not been verified since it was made at {last}")
            } else {
                format!("'{name}' was last verified at {last}")
            }
        }
        Limit::Failed(most) => {
            let failed = summary.by_status.get(&bk_schema::record::Status::Failed)?;
            let count = Some(failed.count).filter(|count| *count > most)?;
            format!("{count} failed")
        }
        Limit::Missing(most) => {
            // Neither can be restored now.
            let (missing, offline) = (summary.missing_count, summary.offline_count);
            let count = Some(missing + offline).filter(|count| *count > most)?;
            match offline {
                0 => format!("{count} missing"),
                _ => format!("{missing} missing, {offline} offline"),
            }
        }
        Limit::Offline(most) => {
            let count = Some(summary.offline_count).filter(|count| *count > most)?;
            format!("{count} offline")
        }
        Limit::Problems(most) => {
            let count = Some(summary.problem_count).filter(|count| *count > most)?;
            format!("incomplete source paths in the newest backups: {count}")
        }
        Limit::Uncopied(most) => {
            let count = Some(summary.uncopied_count).filter(|count| *count > most)?;
            format!("{count} without a copy at any location")
        }
        // Those of jobs and locations know no summary.
        Limit::JobsFailed(_) | Limit::Job(_) | Limit::Location(..) => return None,
    };
    Some(text)
}

/// Which enabled jobs failed, if they are more than that.
fn failed(jobs: &[JobLine], most: u64) -> Option<String> {
    let text = |job: &JobLine| {
        let reason = job.failure()?;
        Some(format!(
            "the job '{}' failed: {reason}",
            job.job.escape_debug()
        ))
    };
    let enabled = jobs.iter().filter(|it| it.enabled);
    let failed: Vec<_> = enabled.filter_map(text).collect();
    (failed.len() as u64 > most).then(|| failed.join("; "))
}

/// How a job crosses a limit; `None` if it does not.
fn crossed_by(limit: &JobLimit, job: &JobLine) -> Option<String> {
    let name = job.job.escape_debug();
    Some(match *limit {
        JobLimit::Age(_, since) if !job.makes_backups => match job.last_success {
            None => format!("the job '{name}' has never succeeded"),
            Some(at) if at < since => format!("the job '{name}' last succeeded at {at}"),
            Some(_) => return None,
        },
        JobLimit::Age(_, since) => match &job.newest {
            None if job.is_lost => format!("no archive of the job '{name}' is there"),
            None => format!("the job '{name}' has no backup"),
            Some(newest) if newest.created_at < since => {
                let (backup, at) = (newest.backup_name.escape_debug(), newest.created_at);
                format!("the job '{name}' made its newest backup '{backup}' at {at}")
            }
            Some(_) => return None,
        },
        JobLimit::Overdue(since) => match (&job.settings_error, job.due_since) {
            (Some(error), _) => format!("the job '{name}' cannot run: {error}"),
            (None, Some(due)) if due < since => {
                format!("the job '{name}' is due since {due} and has not run")
            }
            (None, _) => return None,
        },
        JobLimit::Shrunk(most) => {
            return unusual(job, most, |content, usual| usual.saturating_sub(content));
        }
        JobLimit::Grown(most) => {
            return unusual(job, most, |content, usual| content.saturating_sub(usual));
        }
    })
}

/// How the newest backup differs by more than that many percent from the usual size.
fn unusual(job: &JobLine, most: u64, difference: fn(u64, u64) -> u64) -> Option<String> {
    let (content, usual) = job.content_bytes.zip(job.content_median_bytes)?;
    let difference = u128::from(difference(content, usual));
    if difference * 100 <= u128::from(usual) * u128::from(most) {
        return None;
    }
    let (name, newest) = (job.job.escape_debug(), job.newest.as_ref()?);
    Some(format!(
        "the job '{name}': the content of its newest backup '{}' is {}, the median of those before it {}",
        newest.backup_name.escape_debug(),
        human_size(content),
        human_size(usual)
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::summary::Brief;
    use jiff::{SignedDuration, Timestamp};
    use proptest::prelude::*;

    fn hours_ago(hours: i64) -> Timestamp {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        now - SignedDuration::from_hours(hours)
    }

    fn job(name: &str, hours: i64, sizes: [u64; 2]) -> JobLine {
        JobLine {
            job: name.into(),
            enabled: true,
            makes_backups: true,
            newest: Some(Brief {
                id: 1,
                backup_name: format!("{name}-1"),
                backup_size: 1,
                created_at: hours_ago(hours),
            }),
            content_bytes: Some(sizes[0]),
            content_median_bytes: Some(sizes[1]),
            ..JobLine::default()
        }
    }

    fn crossed(limit: Limit, jobs: &[JobLine]) -> Vec<String> {
        let threshold = Threshold {
            level: Level::Failure,
            spec: "it".into(),
            limit,
        };
        let total = Summary {
            total: true,
            ..Summary::default()
        };
        let thresholds = [threshold];
        let checked = check(&thresholds, &[total], jobs, &[]);
        checked.into_iter().filter_map(|it| it.crossed).collect()
    }

    #[test]
    fn a_limit_is_of_each_enabled_job_or_of_the_named_one() {
        let age =
            |name: Option<&str>| Limit::Job(JobLimit::Age(name.map(str::to_owned), hours_ago(26)));
        let mut jobs = [
            job("a", 30, [1, 1]),
            job("b", 3, [1, 1]),
            job("c", 99, [1, 1]),
        ];
        let old = |name: &str, hours| {
            let at = hours_ago(hours);
            format!("the job '{name}' made its newest backup '{name}-1' at {at}")
        };
        assert_eq!(crossed(age(None), &jobs), [old("a", 30), old("c", 99)]);
        jobs[2].enabled = false;
        jobs[0].makes_backups = false;
        assert!(crossed(age(None), &jobs).is_empty());
        assert_eq!(crossed(age(Some("c")), &jobs), [old("c", 99)]);
        assert!(crossed(age(Some("b")), &jobs).is_empty());
        assert_eq!(crossed(age(Some("d'")), &jobs), ["there is no job 'd\\''"]);
        // One that makes no backups is as old as its last success.
        for (hours, told) in [
            (None, Some("the job 'a' has never succeeded")),
            (
                Some(27),
                Some("the job 'a' last succeeded at 2026-11-23T09:00:00Z"),
            ),
            (Some(25), None),
        ] {
            jobs[0].last_success = hours.map(hours_ago);
            let told: Vec<_> = told.into_iter().collect();
            assert_eq!(crossed(age(Some("a")), &jobs), told, "{hours:?}");
        }
        jobs[1].newest = None;
        assert_eq!(crossed(age(None), &jobs), ["the job 'b' has no backup"]);
        jobs[1].is_lost = true;
        let lost = "no archive of the job 'b' is there";
        assert_eq!(crossed(age(None), &jobs), [lost]);
    }

    #[test]
    fn jobs_that_failed_are_counted_and_each_is_named() {
        let mut jobs = [
            job("a", 1, [1, 1]),
            job("b", 1, [1, 1]),
            job("c", 1, [1, 1]),
        ];
        for job in &mut jobs {
            job.last_outcome = Some("failed".into());
            job.last_reason = Some("no space".into());
        }
        jobs[1].settings_error = Some("it has no schedule".into());
        jobs[2].enabled = false;
        let text = "the job 'a' failed: no space; the job 'b' failed: it has no schedule";
        assert_eq!(crossed(Limit::JobsFailed(1), &jobs), [text]);
        assert!(crossed(Limit::JobsFailed(2), &jobs).is_empty());
        let overdue = Limit::Job(JobLimit::Overdue(hours_ago(1)));
        let cannot = "the job 'b' cannot run: it has no schedule";
        assert_eq!(crossed(overdue.clone(), &jobs), [cannot]);
        jobs[0].due_since = Some(hours_ago(1));
        assert_eq!(crossed(overdue.clone(), &jobs[..1]), [""; 0]);
        jobs[0].due_since = Some(hours_ago(2));
        let due = "the job 'a' is due since 2026-11-24T10:00:00Z and has not run";
        assert_eq!(crossed(overdue, &jobs[..1]), [due]);
    }

    proptest! {
        #[test]
        fn a_size_crosses_a_limit_exactly(content in 0..2000u64, usual in 0..1000u64, most in 0..300u64) {
            let jobs = [job("a", 1, [content, usual])];
            let difference = content.abs_diff(usual) * 100;
            let is_beyond = difference > usual * most;
            let is = |limit| crossed(Limit::Job(limit), &jobs).len() == 1;
            prop_assert_eq!(is(JobLimit::Shrunk(most)), is_beyond && content < usual);
            prop_assert_eq!(is(JobLimit::Grown(most)), is_beyond && content > usual);
        }
    }
}
