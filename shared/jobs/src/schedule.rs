//! A cron expression and its times, as pure functions.
//!
//! Where the clock is set forward or back, for summer time say, it does as Debian's cron(8). Knows
//! no catalog and reads no clock.

use anyhow::{Result, bail, ensure};
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Where the clock is set by more, cron makes up for no skipped time, and runs repeated ones again.
const CORRECTION_MINUTES: i32 = 3 * 60;
/// The smallest difference of two times.
const INSTANT: SignedDuration = SignedDuration::from_nanos(1);

/// Each field, with the names of its numbers.
const FIELDS: [(&str, &[&str]); 5] = [
    ("minute", &[]),
    ("hour", &[]),
    ("day of the month", &[]),
    (
        "month",
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    (
        "day of the week",
        &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    ),
];

/// A cron expression with five fields, or a nickname such as `@daily`.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// As it was typed.
    pub text: String,
    cron: Cron,
    /// Its minute or hour is a star: it follows the wall clock, however that is set.
    is_wild: bool,
}

/// A span of time in which the wall clock is not set.
struct Stretch {
    begin: Timestamp,
    end: Timestamp,
    offset: Offset,
    /// What the wall clock shows at its beginning.
    first: DateTime,
    /// What the wall clock shows at its end.
    last: DateTime,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Schedule {
    /// Parses an expression.
    ///
    /// # Errors
    /// A malformed expression; one that never comes.
    pub fn parse(text: &str) -> Result<Self> {
        let shown = text.escape_debug();
        // The library accepts them, and searches for a time for minutes.
        let is_gap = |field: &str| field.split(',').any(str::is_empty);
        ensure!(
            !text.split_whitespace().any(is_gap),
            "invalid schedule '{shown}': a list has nothing between two commas"
        );
        let count = text.split_whitespace().count();
        ensure!(
            count == 5 || text.starts_with('@'),
            "invalid schedule '{shown}': it has {count} fields, not five: minute, hour, day of the month, month, day of the week"
        );
        check_words(text)?;
        let is_star = |number: usize| {
            let field = text.split_whitespace().nth(number);
            field.is_some_and(|field| field.starts_with('*'))
        };
        // A star with a step counts as a star: the day has to match both fields.
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .dom_and_dow(is_star(2) || is_star(4))
            .build();
        // The one nickname of crontab(5) that the parser does not know.
        let known = if text == "@midnight" { "@daily" } else { text };
        let cron = match parser.parse(known) {
            Ok(cron) => cron,
            Err(_) if text.starts_with('@') => bail!(
                "invalid schedule '{shown}': use @hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually"
            ),
            Err(error) => bail!("invalid schedule '{shown}': {}", reason(&error)),
        };
        let schedule = Self {
            text: text.to_owned(),
            cron,
            is_wild: is_star(0) || is_star(1) || text.eq_ignore_ascii_case("@hourly"),
        };
        // Searched from a fixed time on: the calendar repeats itself.
        ensure!(
            schedule
                .next(Timestamp::UNIX_EPOCH, &TimeZone::UTC)
                .is_some(),
            "invalid schedule '{shown}': it never comes: no month has that day"
        );
        Ok(schedule)
    }

    /// The first time after `after`.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut stretch = self.stretch(after, zone);
        let shown = stretch.offset.to_datetime(after);
        let (mut from, mut is_from) = (shown.max(stretch.first), shown < stretch.first);
        loop {
            let from_utc = from.to_zoned(TimeZone::UTC).ok()?;
            let found = self.cron.find_next_occurrence(&from_utc, is_from).ok()?;
            if found.datetime() < stretch.last {
                return stretch.time(found.datetime());
            }
            if stretch.end == Timestamp::MAX {
                return None;
            }
            stretch = self.stretch(stretch.end, zone);
            (from, is_from) = (stretch.first, true);
        }
    }

    /// The last time up to `until`.
    pub fn previous(&self, until: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut stretch = self.stretch(until, zone);
        let (mut to, mut is_to) = (stretch.offset.to_datetime(until), true);
        loop {
            let to_utc = to.to_zoned(TimeZone::UTC).ok()?;
            let found = self.cron.find_previous_occurrence(&to_utc, is_to).ok()?;
            if found.datetime() >= stretch.first {
                return stretch.time(found.datetime());
            }
            stretch = self.stretch(stretch.begin.checked_sub(INSTANT).ok()?, zone);
            (to, is_to) = (stretch.last, false);
        }
    }

    /// The stretch that a time lies in. For a fixed time of day it begins where the one before ended
    /// on the wall clock: a skipped time is its first, and a repeated one is not in it.
    fn stretch(&self, at: Timestamp, zone: &TimeZone) -> Stretch {
        let from = at.checked_add(INSTANT).unwrap_or(at);
        let begin = zone.preceding(from).next();
        let begin = begin.map_or(Timestamp::MIN, |it| it.timestamp());
        let end = zone.following(at).next();
        let end = end.map_or(Timestamp::MAX, |it| it.timestamp());
        let offset = zone.to_offset(at);
        let before = zone.to_offset(begin.checked_sub(INSTANT).unwrap_or(begin));
        let set_minutes = (offset.seconds() - before.seconds()) / 60;
        let is_corrected = (-CORRECTION_MINUTES..CORRECTION_MINUTES).contains(&set_minutes);
        let of_first = if self.is_wild || !is_corrected {
            offset
        } else {
            before
        };
        Stretch {
            begin,
            end,
            offset,
            first: of_first.to_datetime(begin),
            last: offset.to_datetime(end),
        }
    }
}

impl Stretch {
    /// When the wall clock shows this; a skipped time comes at the beginning.
    fn time(&self, shown: DateTime) -> Option<Timestamp> {
        let time = self.offset.to_timestamp(shown).ok()?;
        Some(time.max(self.begin))
    }
}

/// Refuses what the library accepts and crontab(5) does not know: it would mean something else to
/// cron(8) and to whoever reads it.
fn check_words(text: &str) -> Result<()> {
    if text.starts_with('@') {
        return Ok(());
    }
    for (field, (name, words)) in text.split_whitespace().zip(FIELDS) {
        let is_word = |part: &str| {
            let is_name = words.iter().any(|word| word.eq_ignore_ascii_case(part));
            part.bytes().all(|byte| byte.is_ascii_digit()) || is_name
        };
        let mut parts = field.split([',', '-', '/', '*']);
        if let Some(part) = parts.find(|part| !is_word(part)) {
            bail!(
                "invalid schedule '{}': crontab(5) has no '{}' in the {name}",
                text.escape_debug(),
                part.escape_debug()
            );
        }
    }
    Ok(())
}

/// The error of the library, without its prefix.
fn reason(error: &CronError) -> String {
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
#[allow(clippy::unwrap_used, clippy::print_stdout)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_expression_that_is_wrong_says_why() {
        for (text, reason) in [
            (
                "",
                "invalid schedule \'\': it has 0 fields, not five: minute, hour, day of the month, month, day of the week",
            ),
            (
                "0 0 3 * * *",
                "invalid schedule \'0 0 3 * * *\': it has 6 fields, not five: minute, hour, day of the month, month, day of the week",
            ),
            (
                "0 0 30 2 *",
                "invalid schedule \'0 0 30 2 *\': it never comes: no month has that day",
            ),
            (
                "0 0 31 4,6,9,11 *",
                "invalid schedule \'0 0 31 4,6,9,11 *\': it never comes: no month has that day",
            ),
            (
                ",,, 0-5 1,15 * mon-fri",
                "invalid schedule \',,, 0-5 1,15 * mon-fri\': a list has nothing between two commas",
            ),
            (
                "60 0 * * *",
                "invalid schedule \'60 0 * * *\': number out of bounds",
            ),
            (
                "0 0 L * *",
                "invalid schedule \'0 0 L * *\': crontab(5) has no 'L' in the day of the month",
            ),
            (
                "0 0 15W * *",
                "invalid schedule \'0 0 15W * *\': crontab(5) has no '15W' in the day of the month",
            ),
            (
                "0 0 ? * *",
                "invalid schedule \'0 0 ? * *\': crontab(5) has no '?' in the day of the month",
            ),
            (
                "0 0 * * 5#2",
                "invalid schedule \'0 0 * * 5#2\': crontab(5) has no '5#2' in the day of the week",
            ),
            (
                "0 0 * * fril",
                "invalid schedule \'0 0 * * fril\': crontab(5) has no 'fril' in the day of the week",
            ),
            (
                "0 0 * mon *",
                "invalid schedule \'0 0 * mon *\': crontab(5) has no 'mon' in the month",
            ),
            (
                "+5 0 * * *",
                "invalid schedule \'+5 0 * * *\': crontab(5) has no '+5' in the minute",
            ),
            (
                "@reboot",
                "invalid schedule '@reboot': use @hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually",
            ),
        ] {
            assert_eq!(Schedule::parse(text).unwrap_err().to_string(), reason);
        }
        for text in [
            "0 0 29 2 *",
            "*/15 8-18 * * mon-fri",
            "0 0 1,15 * *",
            "0 0 1 JAN Sun-tue,7",
            "@weekly",
        ] {
            Schedule::parse(text).unwrap();
        }
    }

    /// Every time from one to another.
    fn times(
        schedule: &Schedule,
        from: Timestamp,
        until: Timestamp,
        zone: &TimeZone,
    ) -> Vec<String> {
        let (mut at, mut all) = (from - INSTANT, Vec::new());
        while let Some(next) = schedule.next(at, zone).filter(|next| *next < until) {
            assert_eq!(schedule.previous(next, zone), Some(next));
            assert_eq!(
                schedule.previous(next + SignedDuration::from_secs(59), zone),
                Some(next)
            );
            all.push(next.to_zoned(zone.clone()).to_string());
            at = next;
        }
        all
    }

    /// The main loop of cron(8) of Debian, from a minute to another.
    fn by_cron(
        schedule: &Schedule,
        from: Timestamp,
        until: Timestamp,
        zone: &TimeZone,
    ) -> Vec<String> {
        let minute = SignedDuration::from_mins(1);
        let shows = |time: Timestamp| zone.to_offset(time).to_datetime(time);
        let comes = |shown: DateTime| {
            let shown = shown.to_zoned(TimeZone::UTC).unwrap();
            schedule.cron.is_time_matching(&shown).unwrap()
        };
        let (mut at, mut followed, mut all) = (from, shows(from) - minute, Vec::new());
        while at < until {
            let shown = shows(at);
            let ahead = shown.duration_since(followed).as_mins();
            let wild = schedule.is_wild && comes(shown);
            let mut fixed = false;
            if ahead > 180 || ahead <= -180 {
                (followed, fixed) = (shown, comes(shown));
            } else {
                while followed < shown {
                    followed += minute;
                    fixed |= comes(followed);
                }
            }
            if wild || (fixed && !schedule.is_wild) {
                all.push(at.to_zoned(zone.clone()).to_string());
            }
            at += minute;
        }
        all
    }

    #[test]
    fn midnight_is_a_word_for_daily() {
        let midnight = Schedule::parse("@midnight").unwrap();
        let daily = Schedule::parse("@daily").unwrap();
        assert!(midnight.cron == daily.cron);
        assert_eq!(midnight.text, "@midnight");
    }

    /// Berlin; half an hour; two hours at once; at midnight; a day before; the south; none.
    const ZONES: [&str; 7] = [
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        "<+00>0<+02>-2,M3.5.0/1,M10.5.0/3",
        "<-04>4<-03>,M9.1.6/24,M4.1.6/24",
        "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
        "NZST-12NZDT,M9.5.0,M4.1.0/3",
        "UTC0",
    ];

    #[test]
    fn a_fixed_time_comes_once_on_each_day_of_the_years() {
        for name in ZONES {
            let zone = TimeZone::posix(name).unwrap();
            for cron in [
                "0 0 * * *",
                "30 0 * * *",
                "0 1 * * *",
                "59 1 * * *",
                "0 2 * * *",
                "30 2 * * *",
                "0 3 * * *",
                "30 23 * * *",
            ] {
                let schedule = Schedule::parse(cron).unwrap();
                let begin = DateTime::constant(2025, 1, 1, 0, 0, 0, 0);
                let first = zone.to_timestamp(begin).unwrap();
                let end = zone
                    .to_timestamp(DateTime::constant(2028, 1, 1, 0, 0, 0, 0))
                    .unwrap();
                let all = times(&schedule, first, end, &zone);
                assert_eq!(all.len(), 365 + 365 + 365, "{cron} in {name}");
            }
        }
    }

    #[test]
    fn a_day_that_a_country_left_out_is_not_made_up_for() {
        // Samoa had no 30th of December in 2011.
        let Ok(zone) = TimeZone::get("Pacific/Apia") else {
            println!("skipped: no time zones are installed here");
            return;
        };
        let daily = Schedule::parse("0 3 * * *").unwrap();
        let all = times(
            &daily,
            time("2011-12-29T00:00:00-10"),
            time("2012-01-01T00:00:00+14"),
            &zone,
        );
        let days: Vec<_> = all.iter().map(|it| &it[8..16]).collect();
        assert_eq!(days, ["29T03:00", "31T03:00"]);
    }

    #[test]
    fn a_star_with_a_step_is_a_star() {
        let utc = TimeZone::UTC;
        for (cron, expected) in [
            // Odd days that are Mondays; with two lists of days either will do.
            ("0 0 */2 * 1", &["09", "23"][..]),
            ("0 0 1-7 * */7", &["01"]),
            ("0 0 1,15 * 1", &["01", "02", "09", "15", "16", "23", "30"]),
            ("0 0 * * 1", &["02", "09", "16", "23", "30"]),
        ] {
            let schedule = Schedule::parse(cron).unwrap();
            let all = times(
                &schedule,
                time("2026-11-01T00:00:00Z"),
                time("2026-12-01T00:00:00Z"),
                &utc,
            );
            let days: Vec<_> = all.iter().map(|it| &it[8..10]).collect();
            assert_eq!(days, expected, "{cron}");
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
        fn it_does_as_cron_of_debian(
            minute in field(59, 0), hour in field(5, 0), week in field(6, 0),
            zone in prop::sample::select(&ZONES[..]), month in 1..13i8,
        ) {
            let schedule = Schedule::parse(&format!("{minute} {hour} * * {week}")).unwrap();
            let zone = TimeZone::posix(zone).unwrap();
            // The clocks are set in the first week of a month or the last.
            let begin = DateTime::constant(2026, 1, 1, 12, 0, 0, 0).with().month(month).build().unwrap();
            let first = zone.to_timestamp(begin.checked_sub(jiff::Span::new().days(8)).unwrap()).unwrap();
            let end = first + SignedDuration::from_hours(17 * 24);
            prop_assert_eq!(times(&schedule, first, end, &zone), by_cron(&schedule, first, end, &zone));
        }

        #[test]
        fn no_text_panics(text in "(.{0,40}|([0-9*/,a-zA-Z#?@+-]{0,6} ){4}[0-9*/,a-zA-Z#?@+-]{0,6})") {
            let _ = Schedule::parse(&text);
        }
    }
}
