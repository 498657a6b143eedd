//! When a job is due: a cron expression, the last run and the time, as a pure function.
//!
//! Knows no catalog and reads no clock.

use anyhow::{Result, bail, ensure};
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

/// A time that lies further ahead of the clock was written by a clock that was wrong.
const BELIEVED: SignedDuration = SignedDuration::from_hours(1);

/// A cron expression with five fields, or a nickname such as `@daily`.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    /// As it was typed.
    pub(crate) text: String,
    cron: Cron,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Schedule {
    /// # Errors
    /// What is wrong with the expression; one that never comes.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let shown = text.escape_debug();
        // The library takes them, and looks for a time that has none of them for minutes.
        let is_gap = |field: &str| field.split(',').any(str::is_empty);
        ensure!(
            !text.split_whitespace().any(is_gap),
            "'{shown}' is no cron expression: a list has nothing between two commas"
        );
        let count = text.split_whitespace().count();
        ensure!(
            count == 5 || text.starts_with('@'),
            "'{shown}' has {count} fields, not five: minute, hour, day of the month, month, day of the week"
        );
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = match parser.parse(text) {
            Ok(cron) => cron,
            Err(_) if text.starts_with('@') => bail!(
                "'{shown}' is none of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually"
            ),
            Err(error) => bail!("'{shown}' is no cron expression: {}", words(&error)),
        };
        let schedule = Self {
            text: text.to_owned(),
            cron,
        };
        // From a fixed time on, as long as the calendar repeats itself.
        ensure!(
            schedule
                .next(Timestamp::UNIX_EPOCH, &TimeZone::UTC)
                .is_some(),
            "'{shown}' never comes: no month has that day"
        );
        Ok(schedule)
    }

    /// The first time after that one.
    pub(crate) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = after.to_zoned(zone.clone());
        let next = self.cron.find_next_occurrence(&from, false);
        next.ok().as_ref().map(Zoned::timestamp)
    }

    /// The last time up to that one.
    pub(crate) fn previous(&self, until: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = until.to_zoned(zone.clone());
        let previous = self.cron.find_previous_occurrence(&from, true);
        previous.ok().as_ref().map(Zoned::timestamp)
    }

    /// The time for which a job is to run now, which did nothing for the times after `begun`:
    /// the last one, however many were missed.
    pub(crate) fn due(&self, begun: Begun, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let last = self.previous(now, zone)?;
        let Some(after) = begun.believed(now) else {
            return Some(last);
        };
        let first = self.next(after, zone).filter(|first| *first <= now)?;
        Some(last.max(first))
    }
}

/// From when on the times of a job count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Begun {
    /// When it was made, enabled or got its schedule.
    pub(crate) since: Option<Timestamp>,
    /// When it last ran.
    pub(crate) last_run: Option<Timestamp>,
}

impl Begun {
    fn believed(self, now: Timestamp) -> Option<Timestamp> {
        let all = [self.since, self.last_run].into_iter().flatten();
        let latest = now.checked_add(BELIEVED).unwrap_or(Timestamp::MAX);
        all.filter(|time| *time <= latest).max()
    }
}

/// The words of the library, without its own terms.
fn words(error: &CronError) -> String {
    let text = match error {
        CronError::InvalidPattern(text)
        | CronError::IllegalCharacters(text)
        | CronError::ComponentError(text) => text.clone(),
        other => other.to_string(),
    };
    let mut letters = text.trim_end_matches('.').chars();
    let first = letters.next().map(|c| c.to_lowercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The times at which bk-auto, started once a minute, runs a job, in local time.
    fn runs(cron: &str, from: &str, until: &str) -> Vec<String> {
        let (schedule, zone) = (Schedule::parse(cron).unwrap(), berlin());
        let mut begun = Begun {
            since: Some(time(from)),
            last_run: None,
        };
        let (mut now, mut all) = (time(from), Vec::new());
        while now < time(until) {
            // A timer is never quite on time.
            let started = now + SignedDuration::from_millis(1234);
            if let Some(scheduled) = schedule.due(begun, started, &zone) {
                assert_eq!(scheduled, now, "{cron}");
                all.push(
                    now.to_zoned(zone.clone())
                        .strftime("%d %H:%M%:z")
                        .to_string(),
                );
                begun.last_run = Some(started);
            }
            now += SignedDuration::from_mins(1);
        }
        all
    }

    #[test]
    fn the_night_that_lacks_an_hour_has_its_run() {
        // 2026-03-29: 02:00+01:00 is followed by 03:00+02:00.
        let night = ("2026-03-28T12:00:00+01:00", "2026-03-30T12:00:00+02:00");
        for (cron, expected) in [
            ("30 1 * * *", &["29 01:30+01:00", "30 01:30+02:00"][..]),
            ("30 2 * * *", &["29 03:00+02:00", "30 02:30+02:00"]),
            ("0 3 * * *", &["29 03:00+02:00", "30 03:00+02:00"]),
            ("30 2 29 3 *", &["29 03:00+02:00"]),
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
        let mut begun = Begun {
            since: Some(time("2026-11-01T12:00:00Z")),
            last_run: Some(time("2026-11-20T02:00:01Z")),
        };
        let now = time("2026-11-24T08:00:00Z");
        assert_eq!(
            daily.due(begun, now, &zone),
            Some(time("2026-11-24T02:00:00Z"))
        );
        begun.last_run = Some(now);
        assert_eq!(daily.due(begun, now, &zone), None);
        assert_eq!(daily.due(begun, time("2026-11-25T01:59:59Z"), &zone), None);
        assert_eq!(
            daily.due(begun, time("2026-11-25T02:00:00Z"), &zone),
            Some(time("2026-11-25T02:00:00Z"))
        );
    }

    #[test]
    fn what_passed_before_a_job_was_enabled_does_not_count() {
        let (daily, zone) = (Schedule::parse("0 3 * * *").unwrap(), TimeZone::UTC);
        let begun = Begun {
            since: Some(time("2026-11-24T08:00:00Z")),
            last_run: Some(time("2026-01-01T03:00:00Z")),
        };
        assert_eq!(daily.due(begun, time("2026-11-24T09:00:00Z"), &zone), None);
        assert!(
            daily
                .due(begun, time("2026-11-25T03:00:00Z"), &zone)
                .is_some()
        );
    }

    #[test]
    fn a_run_in_the_future_does_not_stop_a_job_for_ever() {
        let (daily, zone) = (Schedule::parse("0 3 * * *").unwrap(), TimeZone::UTC);
        let now = time("2026-11-24T09:00:00Z");
        let mut begun = Begun {
            since: Some(time("2026-11-01T00:00:00Z")),
            last_run: Some(time("2099-01-01T00:00:00Z")),
        };
        assert!(daily.due(begun, now, &zone).is_some());
        // Half an hour is what a clock is set back by, and no reason to run twice.
        begun.last_run = Some(time("2026-11-24T09:30:00Z"));
        assert_eq!(daily.due(begun, now, &zone), None);
        let nothing = Begun::default();
        assert_eq!(
            daily.due(nothing, now, &zone),
            Some(time("2026-11-24T03:00:00Z"))
        );
    }

    #[test]
    fn an_expression_that_is_wrong_says_why() {
        for (text, reason) in [
            (
                "",
                "'' has 0 fields, not five: minute, hour, day of the month, month, day of the week",
            ),
            (
                "0 0 3 * * *",
                "'0 0 3 * * *' has 6 fields, not five: minute, hour, day of the month, month, day of the week",
            ),
            (
                "0 0 30 2 *",
                "'0 0 30 2 *' never comes: no month has that day",
            ),
            (
                "0 0 31 4,6,9,11 *",
                "'0 0 31 4,6,9,11 *' never comes: no month has that day",
            ),
            (
                ",,, 0-5 1,15 * mon-fri",
                "',,, 0-5 1,15 * mon-fri' is no cron expression: a list has nothing between two commas",
            ),
            (
                "60 0 * * *",
                "'60 0 * * *' is no cron expression: number out of bounds",
            ),
            (
                "@reboot",
                "'@reboot' is none of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually",
            ),
        ] {
            assert_eq!(Schedule::parse(text).unwrap_err().to_string(), reason);
        }
        for text in [
            "0 0 29 2 *",
            "*/15 8-18 * * mon-fri",
            "0 0 1,15 * *",
            "@weekly",
            "0 0 L * *",
        ] {
            Schedule::parse(text).unwrap();
        }
    }

    fn field(max: u32, min: u32) -> impl Strategy<Value = String> {
        prop_oneof![
            Just("*".to_owned()),
            (min..=max).prop_map(|n| n.to_string()),
            (2..8u32).prop_map(|n| format!("*/{n}")),
            (min..=max, min..=max).prop_map(|(a, b)| format!("{},{}", a.min(b), a.max(b))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Both directions of the library agree, or a time would be run for twice or never.
        #[test]
        fn the_last_time_is_the_last_of_the_next_ones(
            minute in field(59, 0), hour in field(23, 0), day in field(28, 1), week in field(6, 0),
            night in 0..2usize, start in 0..2880i64,
        ) {
            let schedule = Schedule::parse(&format!("{minute} {hour} {day} * {week}")).unwrap();
            let begin = [time("2026-03-28T00:00:00Z"), time("2026-10-24T00:00:00Z")][night];
            let now = begin + SignedDuration::from_mins(start);
            let zone = berlin();
            let last = schedule.previous(now, &zone).unwrap();
            prop_assert!(last <= now);
            let next = schedule.next(last, &zone).unwrap();
            prop_assert!(next > now, "{} {last} {next} {now}", schedule.text);
        }

        #[test]
        fn no_text_panics(text in "(.{0,40}|([0-9*/,a-zA-Z#?@+-]{0,6} ){4}[0-9*/,a-zA-Z#?@+-]{0,6})") {
            let _ = Schedule::parse(&text);
        }
    }
}
