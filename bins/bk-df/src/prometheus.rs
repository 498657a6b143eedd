//! The summaries, jobs and locations as metrics, in the text exposition format of Prometheus, version 0.0.4, as node
//! exporter's textfile collector reads it. A pure function.
//!
//! Only base units, bytes and seconds. There is no total: `sum()` in a query computes it.

use jiff::Timestamp;

use crate::alerts::{About, Checked};
use crate::jobs::JobLine;
use crate::locations::LocationLine;
use crate::summary::{Brief, Summary};

const SECONDS_PER_DAY: f64 = 86_400.0;

/// All gauges as text.
pub(crate) fn text(
    summaries: &[Summary],
    jobs: &[JobLine],
    locations: &[LocationLine],
    checked: &[Checked<'_>],
) -> String {
    let mut page = Page(String::new());
    let each: Vec<_> = summaries.iter().filter(|it| !it.total).collect();
    for (name, help, is_bytes) in [
        ("bk_backups", "Backups, by status and type.", false),
        (
            "bk_backup_bytes",
            "Disk usage of the backups, by status and type.",
            true,
        ),
    ] {
        page.gauge(name, help, each.iter().flat_map(|it| tallies(it, is_bytes)));
    }
    for (name, help, value) in GAUGES {
        let sample = |it: &&Summary| Some((vec![mountpoint(it)], value(it)?));
        page.gauge(name, help, each.iter().filter_map(sample));
    }
    page.gauge(
        "bk_growth_bytes_per_second",
        "Growth of the backups over a window.",
        each.iter().flat_map(|it| growth(it)),
    );
    for (name, help, value) in JOB_GAUGES {
        let sample = |it: &JobLine| Some((vec![("job", it.job.clone())], value(it)?));
        page.gauge(name, help, jobs.iter().filter_map(sample));
    }
    for (name, help, value) in LOCATION_GAUGES {
        let sample =
            |it: &LocationLine| Some((vec![("location", it.location.clone())], value(it)?));
        page.gauge(name, help, locations.iter().filter_map(sample));
    }
    let alert = |checked: &Checked<'_>| {
        let mut labels = vec![
            ("spec", checked.threshold.spec.clone()),
            ("level", checked.threshold.level.name().to_owned()),
        ];
        match &checked.about {
            About::Job(name) => labels.push(("job", name.clone())),
            About::Location(name) => labels.push(("location", name.clone())),
            About::Summary(at) => {
                let summary = summaries.get(*at).filter(|it| !it.total);
                labels.extend(summary.map(mountpoint));
            }
        }
        (labels, flag(checked.crossed.is_some()))
    };
    let help = "Whether a threshold of bk-df is crossed.";
    page.gauge("bk_alert", help, checked.iter().map(alert));
    page.0
}

/// Labels and value.
type Sample = (Vec<(&'static str, String)>, f64);
/// Name, help and value of a metric with one sample for each file system.
type Gauge = (&'static str, &'static str, fn(&Summary) -> Option<f64>);
/// The same for each location.
type LocationGauge = (&'static str, &'static str, fn(&LocationLine) -> Option<f64>);
/// The same for each job.
type JobGauge = (&'static str, &'static str, fn(&JobLine) -> Option<f64>);

const JOB_GAUGES: [JobGauge; 10] = [
    (
        "bk_job_enabled",
        "Whether the job runs when it is due.",
        |it| Some(flag(it.enabled)),
    ),
    (
        "bk_job_makes_backups",
        "Whether the job makes backups: else it verifies, tests or prunes.",
        |it| Some(flag(it.makes_backups)),
    ),
    (
        "bk_job_failed",
        "Whether the last run of the job failed.",
        |it| Some(flag(it.failure().is_some())),
    ),
    (
        "bk_job_last_run_timestamp_seconds",
        "Begin of the last run of the job.",
        |it| it.last_run.map(seconds),
    ),
    (
        "bk_job_last_success_timestamp_seconds",
        "Begin of the last run of the job that succeeded.",
        |it| it.last_success.map(seconds),
    ),
    (
        "bk_job_newest_backup_timestamp_seconds",
        "Creation of the newest backup of the job.",
        |it| created(it.newest.as_ref()),
    ),
    (
        "bk_job_content_bytes",
        "Content of the newest backup of the job.",
        |it| float(it.content_bytes),
    ),
    (
        "bk_job_content_median_bytes",
        "Median content of the last ten backups of the job before the newest.",
        |it| float(it.content_median_bytes),
    ),
    (
        "bk_job_next_due_timestamp_seconds",
        "When the job is to run next.",
        |it| it.next_due.map(seconds),
    ),
    (
        "bk_job_overdue_seconds",
        "Time since the job is due and has not run.",
        |it| it.overdue_seconds.map(|seconds| seconds as f64),
    ),
];

const LOCATION_GAUGES: [LocationGauge; 5] = [
    (
        "bk_location_copies",
        "Complete copies at the location.",
        |it| Some(it.copy_count as f64),
    ),
    (
        "bk_location_copy_bytes",
        "Size of the complete copies at the location.",
        |it| Some(it.copy_bytes as f64),
    ),
    (
        "bk_location_gone_copies",
        "Complete copies at the location whose backup is no longer in the catalog.",
        |it| Some(it.gone_count as f64),
    ),
    (
        "bk_location_uncopied_backups",
        "Completed backups without a complete copy at the location.",
        |it| Some(it.uncopied_count as f64),
    ),
    (
        "bk_location_newest_copy_timestamp_seconds",
        "When the newest copy at the location was made.",
        |it| it.newest.as_ref().map(|it| seconds(it.copied_at)),
    ),
];

const GAUGES: [Gauge; 19] = [
    (
        "bk_missing_backups",
        "Completed backups whose archive is missing.",
        |it| Some(it.missing_count as f64),
    ),
    (
        "bk_offline_backups",
        "Backups whose archive cannot be reached.",
        |it| Some(it.offline_count as f64),
    ),
    (
        "bk_remote_backups",
        "Completed backups whose archive is at a location alone.",
        |it| Some(it.remote_count as f64),
    ),
    (
        "bk_future_backups",
        "Completed backups that were made in the future.",
        |it| Some(it.future_count as f64),
    ),
    (
        "bk_problems",
        "Source paths that are missing or wrong in the newest backups.",
        |it| Some(it.problem_count as f64),
    ),
    (
        "bk_expired_backups",
        "Backups that are expired and not protected.",
        |it| Some(it.expired_count as f64),
    ),
    (
        "bk_expired_bytes",
        "Space that removing the expired backups would free.",
        |it| Some(it.expired_bytes as f64),
    ),
    (
        "bk_uncopied_backups",
        "Completed backups without a complete copy at any location.",
        |it| Some(it.uncopied_count as f64),
    ),
    (
        "bk_largest_backup_bytes",
        "Size of the largest backup.",
        |it| it.largest.as_ref().map(|it| it.backup_size as f64),
    ),
    (
        "bk_next_backup_bytes",
        "Predicted size of the next backup.",
        |it| float(it.next_backup_bytes),
    ),
    (
        "bk_oldest_backup_timestamp_seconds",
        "Creation of the oldest backup.",
        |it| created(it.oldest.as_ref()),
    ),
    (
        "bk_last_backup_timestamp_seconds",
        "Creation of the newest backup.",
        |it| created(it.newest.as_ref()),
    ),
    (
        "bk_unverified_since_timestamp_seconds",
        "Last verification, else creation, of the backup for which that is longest ago.",
        |it| it.unverified_since.map(seconds),
    ),
    (
        "bk_filesystem_size_bytes",
        "Size of the file system.",
        |it| float(it.size_bytes),
    ),
    (
        "bk_filesystem_free_bytes",
        "Space that is free for backups.",
        |it| float(it.free_bytes),
    ),
    (
        "bk_filesystem_reserve_bytes",
        "Space to leave free.",
        |it| float(it.reserve_bytes),
    ),
    (
        "bk_reserve_reached_seconds",
        "Time until only the reserve is free.",
        |it| it.days_left.map(|days| days * SECONDS_PER_DAY),
    ),
    (
        "bk_filesystem_reachable",
        "Whether the file system can be accessed.",
        |it| Some(flag(it.mountpoint.is_some())),
    ),
    (
        "bk_alerts",
        "Crossed thresholds of the file system.",
        |it| Some(it.alerts.len() as f64),
    ),
];

fn flag(is_it: bool) -> f64 {
    if is_it { 1.0 } else { 0.0 }
}

fn float(bytes: Option<u64>) -> Option<f64> {
    bytes.map(|bytes| bytes as f64)
}

fn created(brief: Option<&Brief>) -> Option<f64> {
    brief.map(|it| seconds(it.created_at))
}

fn seconds(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}

fn mountpoint(summary: &Summary) -> (&'static str, String) {
    ("mountpoint", summary.label().to_owned())
}

fn tallies(summary: &Summary, is_bytes: bool) -> impl Iterator<Item = Sample> {
    summary.by_both.iter().map(move |((status, kind), tally)| {
        let labels = vec![
            mountpoint(summary),
            ("status", status.name().to_owned()),
            ("type", kind.name().to_owned()),
        ];
        let value = if is_bytes { tally.bytes } else { tally.count };
        (labels, value as f64)
    })
}

fn growth(summary: &Summary) -> impl Iterator<Item = Sample> {
    let growth = summary.growth_bytes_per_day;
    let windows = [
        ("7d", growth.week),
        ("30d", growth.month),
        ("90d", growth.quarter),
    ];
    windows.into_iter().filter_map(move |(window, bytes)| {
        let labels = vec![mountpoint(summary), ("window", window.to_owned())];
        Some((labels, bytes? as f64 / SECONDS_PER_DAY))
    })
}

struct Page(String);

impl Page {
    /// Adds a gauge, unless it has no sample.
    fn gauge(&mut self, name: &str, help: &str, samples: impl Iterator<Item = Sample>) {
        let mut lines = String::new();
        for (labels, value) in samples {
            let label = |(name, value): &(_, String)| format!("{name}=\"{}\"", escaped(value));
            let labels: Vec<_> = labels.iter().map(label).collect();
            lines.push_str(&format!("{name}{{{}}} {value}\n", labels.join(",")));
        }
        if !lines.is_empty() {
            let text = format!("# HELP {name} {help}\n# TYPE {name} gauge\n{lines}");
            self.0.push_str(&text);
        }
    }
}

/// A label value: the format escapes backslash, quote and newline only.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_as_the_format_says() {
        assert_eq!(escaped("a\\b\"c\nd\té"), "a\\\\b\\\"c\\nd\té");
    }
}
