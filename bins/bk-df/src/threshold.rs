//! Parses thresholds: `free<20G`, `age>26h`, `age:JOB>26h`.
//!
//! Knows no backup, no job, no location and no file system.

use anyhow::Result;
use bk_cli::Arguments;
use bk_cli::units::{check_no_bare_m, parse_past, parse_size};
use bk_schema::copy::check_location;
use bk_schema::invalid::invalid;
use jiff::{Span, Timestamp};
use serde::Serialize;

use crate::flags::{FAIL, WARN};

/// All forms.
const FORMS: &str = "free<SIZE, free<N%, days<N, age>SPAN, unverified>SPAN, failed>N, missing>N, offline>N, problems>N, \
    age:JOB>SPAN, age:*>SPAN, job-failed>N, shrunk>N%, grown>N%, overdue>SPAN, \
    uncopied>N, uncopied:LOCATION>N, copy-age:LOCATION>SPAN";
/// What the ages of backups begin with.
const AGE: &str = "age";
/// What comes before the name of a job.
const AGE_OF_JOB: &str = "age:";
/// What comes before the name of a location.
const UNCOPIED_AT: &str = "uncopied:";
const COPY_AGE_AT: &str = "copy-age:";
/// Stands for each job.
const EACH_JOB: &str = "*";

/// The severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Warning,
    Failure,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// A quantity and its limit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Limit {
    FreeBytes(u64),
    FreePercent(u64),
    Days(u64),
    /// The newest backup was made before this time.
    Age(Timestamp),
    /// A backup has not been verified since this time.
    Unverified(Timestamp),
    Failed(u64),
    Missing(u64),
    /// Of the missing ones, those whose storage is not mounted.
    Offline(u64),
    /// Source paths that are missing or wrong in the newest backups.
    Problems(u64),
    /// Enabled jobs whose last run failed.
    JobsFailed(u64),
    /// Completed backups without a complete copy at any location.
    Uncopied(u64),
    Job(JobLimit),
    /// The name of a location, and what is checked of it.
    Location(String, LocationLimit),
}

/// A quantity of one location and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocationLimit {
    /// Completed backups without a complete copy there.
    Uncopied(u64),
    /// The newest copy there was made before this time.
    CopyAge(Timestamp),
}

/// A quantity of one job and its limit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum JobLimit {
    /// The newest backup of this job, or of each, was made before this time.
    Age(Option<String>, Timestamp),
    /// The newest backup holds so many percent less than the usual one.
    Shrunk(u64),
    /// So many percent more.
    Grown(u64),
    /// It was to run before this time, and has not.
    Overdue(Timestamp),
}

impl JobLimit {
    /// The only job that it is checked for; `None` for each enabled one.
    pub(crate) fn job(&self) -> Option<&str> {
        match self {
            Self::Age(job, _) => job.as_deref(),
            Self::Shrunk(_) | Self::Grown(_) | Self::Overdue(_) => None,
        }
    }
}

/// One of `--warn` or `--fail`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Threshold {
    pub(crate) level: Level,
    /// As given on the command line.
    pub(crate) spec: String,
    pub(crate) limit: Limit,
}

impl Threshold {
    /// The thresholds of all flags, warnings first.
    ///
    /// # Errors
    /// [`UsageError`](bk_cli::UsageError) that names the flag and lists the forms.
    pub(crate) fn from_flags(arguments: &Arguments, now: Timestamp) -> Result<Vec<Self>> {
        let mut all: Vec<Self> = Vec::new();
        for (flag, level) in [(WARN, Level::Warning), (FAIL, Level::Failure)] {
            let parse = |spec: &str| {
                let limit = parse(spec, now)?;
                let spec = spec.to_owned();
                Ok(Self { level, spec, limit })
            };
            for threshold in arguments.all_parsed(&flag, parse)? {
                // Metrics must not repeat.
                if !all.contains(&threshold) {
                    all.push(threshold);
                }
            }
        }
        Ok(all)
    }
}

fn parse(spec: &str, now: Timestamp) -> Result<Limit> {
    let wrong = || invalid("threshold", spec, FORMS);
    let (what, operator, value) = parts(spec).ok_or_else(wrong)?;
    let is_age = [AGE, COPY_AGE_AT].iter().any(|it| what.starts_with(it));
    if is_age || matches!(what, "unverified" | "overdue") {
        check_no_bare_m(value)?;
    }
    let span = || {
        // parse_past() would take a date too.
        let _: Span = value.parse().ok()?;
        let past = parse_past(value, now).ok()?;
        (past < now).then_some(past)
    };
    let percent = || value.strip_suffix('%').and_then(number);
    let limit = match (what, operator) {
        ("free", "<") if value.ends_with('%') => percent()
            .filter(|it| (1..=100).contains(it))
            .map(Limit::FreePercent),
        ("free", "<") => {
            let size = value.starts_with(|c: char| c.is_ascii_digit());
            let size = size.then(|| parse_size(value).ok()).flatten();
            size.filter(|it| *it > 0).map(Limit::FreeBytes)
        }
        ("days", "<") => number(value).filter(|it| *it > 0).map(Limit::Days),
        ("age", ">") => span().map(Limit::Age),
        ("unverified", ">") => span().map(Limit::Unverified),
        ("failed", ">") => number(value).map(Limit::Failed),
        ("missing", ">") => number(value).map(Limit::Missing),
        ("offline", ">") => number(value).map(Limit::Offline),
        ("problems", ">") => number(value).map(Limit::Problems),
        ("job-failed", ">") => number(value).map(Limit::JobsFailed),
        // Nothing shrinks by more than all of it.
        ("shrunk", ">") => percent()
            .filter(|it| *it < 100)
            .map(|it| Limit::Job(JobLimit::Shrunk(it))),
        ("grown", ">") => percent().map(|it| Limit::Job(JobLimit::Grown(it))),
        ("overdue", ">") => span().map(|it| Limit::Job(JobLimit::Overdue(it))),
        ("uncopied", ">") => number(value).map(Limit::Uncopied),
        (what, ">") if what.starts_with(UNCOPIED_AT) => number(value)
            .map(LocationLimit::Uncopied)
            .and_then(|it| of_location(what, UNCOPIED_AT, it)),
        (what, ">") if what.starts_with(COPY_AGE_AT) => span()
            .map(LocationLimit::CopyAge)
            .and_then(|it| of_location(what, COPY_AGE_AT, it)),
        (what, ">") => what.strip_prefix(AGE_OF_JOB).and_then(|job| {
            let named = (job != EACH_JOB).then(|| job.to_owned());
            span().map(|since| Limit::Job(JobLimit::Age(named, since)))
        }),
        _ => None,
    };
    limit.ok_or_else(wrong)
}

/// The limit of the location that is named after a prefix.
fn of_location(what: &str, prefix: &str, limit: LocationLimit) -> Option<Limit> {
    let name = what.strip_prefix(prefix)?;
    check_location(name).ok()?;
    Some(Limit::Location(name.to_owned(), limit))
}

/// What, the operator, and the value. A job may have signs and blanks in its name, a span has none:
/// behind the last sign is what it is held against.
fn parts(spec: &str) -> Option<(&str, &str, &str)> {
    let job = spec.strip_prefix(AGE_OF_JOB);
    let at = match job {
        Some(_) => spec.rfind('>')?,
        None => spec.find(['<', '>'])?,
    };
    let (what, rest) = spec.split_at(at);
    let (operator, value) = rest.split_at(1);
    let plain = if job.is_some() { value } else { spec };
    let is_right = what != AGE_OF_JOB && !plain.contains(char::is_whitespace);
    is_right.then_some((what, operator, value))
}

/// Of digits only: parse() would take a sign.
fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// A crossed threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Alert {
    pub(crate) level: Level,
    pub(crate) spec: String,
    /// How it is crossed.
    pub(crate) text: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Timestamp {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn every_threshold_of_the_page_is_read() {
        let hours = |hours| now() - jiff::SignedDuration::from_hours(hours);
        let age = |job: Option<&str>, span| {
            Limit::Job(JobLimit::Age(job.map(str::to_owned), hours(span)))
        };
        let at = |location: &str, limit| Limit::Location(location.to_owned(), limit);
        for (spec, limit) in [
            ("free<20G", Limit::FreeBytes(20 << 30)),
            ("free<1", Limit::FreeBytes(1)),
            ("free<1.5TiB", Limit::FreeBytes(3 << 39)),
            ("free<10%", Limit::FreePercent(10)),
            ("free<100%", Limit::FreePercent(100)),
            ("days<14", Limit::Days(14)),
            ("age>26h", Limit::Age(hours(26))),
            ("unverified>30h", Limit::Unverified(hours(30))),
            ("failed>0", Limit::Failed(0)),
            ("missing>12", Limit::Missing(12)),
            ("offline>0", Limit::Offline(0)),
            ("problems>0", Limit::Problems(0)),
            ("age:db>26h", age(Some("db"), 26)),
            ("age:*>26h", age(None, 26)),
            // Every name that a job can have.
            ("age:a b>26h", age(Some("a b"), 26)),
            ("age:a>1h>26h", age(Some("a>1h"), 26)),
            ("age:<:*\">26h", age(Some("<:*\""), 26)),
            ("job-failed>0", Limit::JobsFailed(0)),
            ("shrunk>0%", Limit::Job(JobLimit::Shrunk(0))),
            ("shrunk>99%", Limit::Job(JobLimit::Shrunk(99))),
            ("grown>200%", Limit::Job(JobLimit::Grown(200))),
            ("overdue>1h", Limit::Job(JobLimit::Overdue(hours(1)))),
            ("uncopied>0", Limit::Uncopied(0)),
            ("uncopied:s3.eu>2", at("s3.eu", LocationLimit::Uncopied(2))),
            (
                "copy-age:nas-2>26h",
                at("nas-2", LocationLimit::CopyAge(hours(26))),
            ),
        ] {
            assert_eq!(parse(spec, now()).unwrap(), limit, "{spec}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_can_be_said() {
        for spec in [
            "",
            "free",
            "free<",
            "free>20G",
            "free<=20G",
            "free=20G",
            "free==20G",
            "free<<20G",
            "free<0",
            "free<-1",
            "free<+1",
            "free<.5G",
            "free<101%",
            "free<0%",
            "free<1.5%",
            "free<%",
            "free<20X",
            "free< 20G",
            " free<20G",
            "Free<20G",
            "days>14",
            "days<0",
            "days<1.5",
            "days<14d",
            "days<+1",
            "age<26h",
            "age>26",
            "age>",
            "age>-1h",
            "age>0h",
            "age>2026-11-24",
            "age>2026-11-24T00:00:00Z",
            "age>>1h",
            "age>99999999y",
            "unverified<30d",
            "unverified>soon",
            "failed<0",
            "failed>-1",
            "failed>x",
            "failed>",
            "missing<1",
            "missing>1k",
            "offline<1",
            "problems<1",
            "problems>-1",
            "size>1G",
            "age:>26h",
            "age:db",
            "age:db<26h",
            "age:db>26",
            "age:db>26h ",
            "age:db> 26h",
            "age:db>1h>",
            "age:db>2026-11-24",
            "job-failed<1",
            "job-failed>0%",
            "shrunk>50",
            "shrunk>100%",
            "shrunk>-1%",
            "shrunk<50%",
            "grown>1.5%",
            "grown>%",
            "overdue>1",
            "overdue<1h",
            "uncopied<1",
            "uncopied>1%",
            "uncopied:>0",
            "uncopied:a b>0",
            "uncopied:a>-1",
            "uncopied:a>26h",
            "uncopied:a<1",
            "copy-age>26h",
            "copy-age:>26h",
            "copy-age:a>26",
            "copy-age:*>26h",
            "copy-age:a>1h>26h",
            "copy-age:a<26h",
            "free<20G\n",
            "failed>99999999999999999999",
        ] {
            let error = parse(spec, now()).unwrap_err().to_string();
            let shown = spec.escape_debug();
            assert_eq!(error, format!("invalid threshold '{shown}': use {FORMS}"));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(spec in "(free|days|age|age:|unverified|failed|missing|offline|problems|job-failed|shrunk|grown|overdue|uncopied:a|copy-age:a)?[<>=]?.{0,8}") {
            let _ = parse(&spec, now());
        }
    }
}
