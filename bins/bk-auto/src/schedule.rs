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
