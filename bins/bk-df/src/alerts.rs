//! Which thresholds hold: a pure function.
//!
//! Free space and days are judged for each file system; age, verification, failures, problems,
//! missing and offline archives for all backups together, as an old disk is to have no new backups.

use bk_cli::units::human_size;

use crate::summary::Summary;
use crate::threshold::{Alert, Level, Limit, Threshold};

/// The exit status where a failure holds.
const FAILURE: u8 = 4;

/// A threshold, held against one file system or against all.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged<'a> {
    pub(crate) threshold: &'a Threshold,
    /// Which summary.
    pub(crate) at: usize,
    /// What is so, where it holds.
    pub(crate) held: Option<String>,
}

/// Every threshold against all that it is to be held against.
pub(crate) fn judge<'a>(thresholds: &'a [Threshold], summaries: &[Summary]) -> Vec<Judged<'a>> {
    let mut all = Vec::new();
    for threshold in thresholds {
        let limit = threshold.limit;
        let is_of_each = matches!(
            limit,
            Limit::FreeBytes(_) | Limit::FreePercent(_) | Limit::Days(_)
        );
        for (at, summary) in summaries.iter().enumerate() {
            if summary.total != is_of_each {
                all.push(Judged {
                    threshold,
                    at,
                    held: held(limit, summary),
                });
            }
        }
    }
    all
}

/// Puts those that hold into the summaries: each into its own, and all into the total.
pub(crate) fn put(judged: &[Judged<'_>], summaries: &mut [Summary]) {
    for (at, alert) in judged.iter().filter_map(alert) {
        for (place, summary) in summaries.iter_mut().enumerate() {
            if place == at || summary.total {
                summary.alerts.push(alert.clone());
            }
        }
    }
}

fn alert(judged: &Judged<'_>) -> Option<(usize, Alert)> {
    let alert = Alert {
        level: judged.threshold.level,
        spec: judged.threshold.spec.clone(),
        text: judged.held.clone()?,
    };
    Some((judged.at, alert))
}

/// The exit status, over that which else there was.
pub(crate) fn status(judged: &[Judged<'_>], status: u8) -> u8 {
    let held = judged.iter().filter(|it| it.held.is_some());
    match held.map(|it| it.threshold.level).max() {
        Some(Level::Failure) => FAILURE,
        Some(Level::Warning) => bk_cli::SOME_FAILED,
        None => status,
    }
}

/// What is so, where the limit is passed.
fn held(limit: Limit, summary: &Summary) -> Option<String> {
    let name = summary.label().escape_debug().to_string();
    let text = match limit {
        Limit::FreeBytes(_) | Limit::FreePercent(_) | Limit::Days(_)
            if summary.free_bytes.is_none() =>
        {
            match summary.mountpoint {
                Some(_) => format!("'{name}' does not tell its free space"),
                None => format!("'{name}' cannot be looked at"),
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
                format!("the newest backup '{name}' is of {}", newest.created_at)
            }
            Some(_) => return None,
        },
        Limit::Unverified(since) => {
            let last = summary.unverified_since.filter(|last| *last < since)?;
            let worst = summary.longest_unverified.as_ref()?;
            let name = worst.backup_name.escape_debug();
            if last == worst.created_at {
                format!("'{name}' was not verified since it was made at {last}")
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
            // Either is a backup that cannot be restored now.
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
            format!("{count} unread in the newest backups")
        }
    };
    Some(text)
}
