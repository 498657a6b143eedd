//! Checks the thresholds: pure functions.
//!
//! Free space and days are checked for each file system. Everything else is checked for all backups
//! together: a disk that is full may rightly have no new ones.

use bk_cli::units::human_size;

use crate::summary::Summary;
use crate::threshold::{Alert, Level, Limit, Threshold};

/// The exit status if a `--fail` threshold is crossed.
const FAILURE: u8 = 4;

/// A threshold checked against one file system, or against all backups.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checked<'a> {
    pub(crate) threshold: &'a Threshold,
    /// The index of the summary.
    pub(crate) at: usize,
    /// How it is crossed; `None` if it is not.
    pub(crate) crossed: Option<String>,
}

/// Checks every threshold against all summaries that it applies to.
pub(crate) fn check<'a>(thresholds: &'a [Threshold], summaries: &[Summary]) -> Vec<Checked<'a>> {
    let mut all = Vec::new();
    for threshold in thresholds {
        let limit = threshold.limit;
        let is_of_each = matches!(
            limit,
            Limit::FreeBytes(_) | Limit::FreePercent(_) | Limit::Days(_)
        );
        for (at, summary) in summaries.iter().enumerate() {
            if summary.total != is_of_each {
                all.push(Checked {
                    threshold,
                    at,
                    crossed: crossed(limit, summary),
                });
            }
        }
    }
    all
}

/// Adds the crossed thresholds as alerts: each to its own summary, and all to the total.
pub(crate) fn add(checked: &[Checked<'_>], summaries: &mut [Summary]) {
    for checked in checked {
        let Some(text) = &checked.crossed else {
            continue;
        };
        for (place, summary) in summaries.iter_mut().enumerate() {
            if place == checked.at || summary.total {
                summary.alerts.push(Alert {
                    level: checked.threshold.level,
                    spec: checked.threshold.spec.clone(),
                    text: text.clone(),
                });
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
fn crossed(limit: Limit, summary: &Summary) -> Option<String> {
    let name = summary.label().escape_debug().to_string();
    let text = match limit {
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
    };
    Some(text)
}
