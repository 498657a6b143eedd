//! When a job is due: its schedule, the last run and the time, as a pure function.
//!
//! Knows no cron and no catalog, and reads no clock.

use anyhow::{Context, Result, bail};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::schedule::Schedule;
use crate::settings::{PREFIX, Settings};

/// A time further ahead than this was recorded by a clock that was wrong.
const FUTURE_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Times of a job's schedule count from the later of these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct CountFrom {
    /// When it was made, enabled or got its schedule.
    since: Option<Timestamp>,
    /// When it last ran.
    last_run: Option<Timestamp>,
}

impl CountFrom {
    fn latest(self, now: Timestamp) -> Option<Timestamp> {
        let all = [self.since, self.last_run].into_iter().flatten();
        let limit = now.checked_add(FUTURE_MAX).unwrap_or(Timestamp::MAX);
        all.filter(|time| *time <= limit).max()
    }
}

/// Whether and when a job runs by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// Whether it runs when it is due.
    pub is_enabled: bool,
    /// When it is due.
    pub schedule: Schedule,
    /// Times of the schedule before this do not count.
    pub since: Option<Timestamp>,
}

impl Timing {
    /// From the settings of a job.
    ///
    /// # Errors
    /// Names the setting that is missing or wrong.
    pub fn of(settings: &Settings) -> Result<Self> {
        let wrong = |key: &str| format!("its setting {PREFIX}{key}");
        let get = |key: &str| settings.get(key).map(String::as_str);
        let schedule = get("schedule").with_context(|| format!("it has no {PREFIX}schedule"))?;
        let since = get("since").map(|text| text.parse::<Timestamp>());
        Ok(Self {
            is_enabled: match get("enabled") {
                Some("true" | "1") => true,
                Some("false" | "0") | None => false,
                Some(other) => bail!(
                    "{} is '{}', neither true nor false",
                    wrong("enabled"),
                    other.escape_debug()
                ),
            },
            schedule: Schedule::parse(schedule).with_context(|| wrong("schedule"))?,
            since: since.transpose().with_context(|| wrong("since"))?,
        })
    }

    /// These settings again.
    pub fn to_settings(&self) -> [(&'static str, Option<String>); 3] {
        [
            ("enabled", Some(self.is_enabled.to_string())),
            ("schedule", Some(self.schedule.text.clone())),
            ("since", self.since.map(|time| time.to_string())),
        ]
    }

    /// The time of the schedule for which it is to run now. `done_until` is what
    /// [`Run::done_until`](crate::run::Run::done_until) says of its last run.
    pub fn due(
        &self,
        done_until: Option<Timestamp>,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        let from = CountFrom {
            since: self.since,
            last_run: done_until,
        };
        self.is_enabled
            .then(|| self.schedule.due(from, now, zone))?
    }

    /// The first time of the schedule for which it is to run and has not: earlier than
    /// [`Timing::due`], where several were missed.
    pub fn due_since(
        &self,
        done_until: Option<Timestamp>,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        let last = self.due(done_until, now, zone)?;
        let from = CountFrom {
            since: self.since,
            last_run: done_until,
        };
        let first = from
            .latest(now)
            .map(|after| self.schedule.next(after, zone));
        Some(first.flatten().map_or(last, |first| first.min(last)))
    }

    /// The time of the schedule for which it is to run next, past or future.
    pub fn next(
        &self,
        done_until: Option<Timestamp>,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        let coming = || self.is_enabled.then(|| self.schedule.next(now, zone))?;
        self.due(done_until, now, zone).or_else(coming)
    }
}

impl Schedule {
    /// The last time of the schedule, if a job is due for one that came after `from`: however many
    /// were missed, it runs once.
    fn due(&self, from: CountFrom, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let last = self.previous(now, zone)?;
        let Some(after) = from.latest(now) else {
            return Some(last);
        };
        let first = self.next(after, zone).filter(|first| *first <= now)?;
        Some(last.max(first))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The times at which bk-auto, started once a minute, runs a job, in local time.
    fn runs(cron: &str, begin: &str, until: &str) -> Vec<String> {
        let (schedule, zone) = (Schedule::parse(cron).unwrap(), berlin());
        let mut from = CountFrom {
            since: Some(time(begin)),
            last_run: None,
        };
        let (mut now, mut all) = (time(begin), Vec::new());
        while now < time(until) {
            // A timer is never quite on time.
            let started = now + SignedDuration::from_millis(1234);
            if let Some(scheduled) = schedule.due(from, started, &zone) {
                assert_eq!(scheduled, now, "{cron}");
                all.push(
                    now.to_zoned(zone.clone())
                        .strftime("%d %H:%M%:z")
                        .to_string(),
                );
                from.last_run = Some(started);
            }
            now += SignedDuration::from_mins(1);
        }
        all
    }

    /// Every second hour, but for the one that there is not.
    const NIGHT_OF_THE_STAR: [&str; 11] = [
        "29 00:30+01:00",
        "29 04:30+02:00",
        "29 06:30+02:00",
        "29 08:30+02:00",
        "29 10:30+02:00",
        "29 12:30+02:00",
        "29 14:30+02:00",
        "29 16:30+02:00",
        "29 18:30+02:00",
        "29 20:30+02:00",
        "29 22:30+02:00",
    ];

    #[test]
    fn the_night_that_lacks_an_hour_has_its_run() {
        // 2026-03-29: 02:00+01:00 is followed by 03:00+02:00.
        let night = ("2026-03-28T12:00:00+01:00", "2026-03-30T12:00:00+02:00");
        for (cron, expected) in [
            ("30 1 * * *", &["29 01:30+01:00", "30 01:30+02:00"][..]),
            ("30 2 * * *", &["29 03:00+02:00", "30 02:30+02:00"]),
            ("0 3 * * *", &["29 03:00+02:00", "30 03:00+02:00"]),
            ("0 2,14 29 * *", &["29 03:00+02:00", "29 14:00+02:00"]),
            // cron starts it once for all that was skipped.
            (
                "0,30 1-3 29 * *",
                &[
                    "29 01:00+01:00",
                    "29 01:30+01:00",
                    "29 03:00+02:00",
                    "29 03:30+02:00",
                ],
            ),
            ("30 2 29 3 *", &["29 03:00+02:00"]),
            // A star in the hour or the minute follows the clock.
            ("*/30 2 * * *", &["30 02:00+02:00", "30 02:30+02:00"]),
            ("30 */2 29 * *", &NIGHT_OF_THE_STAR),
            ("@daily", &["29 00:00+01:00", "30 00:00+02:00"]),
        ] {
            assert_eq!(runs(cron, night.0, night.1), expected, "{cron}");
        }
        let hourly = runs(
            "@hourly",
            "2026-03-29T00:30:00+01:00",
            "2026-03-29T04:30:00+02:00",
        );
        assert_eq!(
            hourly,
            ["29 01:00+01:00", "29 03:00+02:00", "29 04:00+02:00"]
        );
    }

    #[test]
    fn the_night_that_has_an_hour_twice_has_one_run() {
        // 2026-10-25: 02:59+02:00 is followed by 02:00+01:00.
        let night = ("2026-10-24T12:00:00+02:00", "2026-10-26T12:00:00+01:00");
        for (cron, expected) in [
            ("30 1 * * *", &["25 01:30+02:00", "26 01:30+01:00"][..]),
            ("30 2 * * *", &["25 02:30+02:00", "26 02:30+01:00"]),
            ("0 2 * * *", &["25 02:00+02:00", "26 02:00+01:00"]),
            ("0 3 * * *", &["25 03:00+01:00", "26 03:00+01:00"]),
            ("30 2 * * 0", &["25 02:30+02:00"]),
            ("0 2,14 25 * *", &["25 02:00+02:00", "25 14:00+01:00"]),
            (
                "0,30 1-3 25 * *",
                &[
                    "25 01:00+02:00",
                    "25 01:30+02:00",
                    "25 02:00+02:00",
                    "25 02:30+02:00",
                    "25 03:00+01:00",
                    "25 03:30+01:00",
                ],
            ),
            (
                "*/30 2 25 * *",
                &[
                    "25 02:00+02:00",
                    "25 02:30+02:00",
                    "25 02:00+01:00",
                    "25 02:30+01:00",
                ],
            ),
        ] {
            assert_eq!(runs(cron, night.0, night.1), expected, "{cron}");
        }
        // What runs every hour runs in both.
        let hourly = runs(
            "0 * * * *",
            "2026-10-25T01:30:00+02:00",
            "2026-10-25T03:30:00+01:00",
        );
        assert_eq!(
            hourly,
            ["25 02:00+02:00", "25 02:00+01:00", "25 03:00+01:00"]
        );
    }

    #[test]
    fn a_machine_that_was_off_makes_up_for_one_run_once() {
        let (daily, zone) = (Schedule::parse("0 3 * * *").unwrap(), berlin());
        let mut from = CountFrom {
            since: Some(time("2026-11-01T12:00:00Z")),
            last_run: Some(time("2026-11-20T02:00:01Z")),
        };
        let now = time("2026-11-24T08:00:00Z");
        assert_eq!(
            daily.due(from, now, &zone),
            Some(time("2026-11-24T02:00:00Z"))
        );
        from.last_run = Some(now);
        assert_eq!(daily.due(from, now, &zone), None);
        assert_eq!(daily.due(from, time("2026-11-25T01:59:59Z"), &zone), None);
        assert_eq!(
            daily.due(from, time("2026-11-25T02:00:00Z"), &zone),
            Some(time("2026-11-25T02:00:00Z"))
        );
    }

    #[test]
    fn what_passed_before_a_job_was_enabled_does_not_count() {
        let (daily, zone) = (Schedule::parse("0 3 * * *").unwrap(), TimeZone::UTC);
        let from = CountFrom {
            since: Some(time("2026-11-24T08:00:00Z")),
            last_run: Some(time("2026-01-01T03:00:00Z")),
        };
        assert_eq!(daily.due(from, time("2026-11-24T09:00:00Z"), &zone), None);
        assert!(
            daily
                .due(from, time("2026-11-25T03:00:00Z"), &zone)
                .is_some()
        );
    }

    #[test]
    fn a_run_in_the_future_does_not_stop_a_job_for_ever() {
        let (daily, zone) = (Schedule::parse("0 3 * * *").unwrap(), TimeZone::UTC);
        let now = time("2026-11-24T09:00:00Z");
        let mut from = CountFrom {
            since: Some(time("2026-11-01T00:00:00Z")),
            last_run: Some(time("2099-01-01T00:00:00Z")),
        };
        assert!(daily.due(from, now, &zone).is_some());
        // Half an hour is what a clock is set back by, and no reason to run twice.
        from.last_run = Some(time("2026-11-24T09:30:00Z"));
        assert_eq!(daily.due(from, now, &zone), None);
        let nothing = CountFrom::default();
        assert_eq!(
            daily.due(nothing, now, &zone),
            Some(time("2026-11-24T03:00:00Z"))
        );
    }
}
