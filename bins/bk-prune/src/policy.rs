//! The policy that the flags ask for.
//!
//! Knows no backup; what it means for backups, `retention` tells.

use anyhow::Result;
use bk_cli::period::Period;
use bk_cli::{Arguments, Flag, UsageError, copies, units};
use bk_schema::host::Host;
use bk_schema::invalid::invalid;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::flags::{
    ALLOW_EMPTY, EXPIRED, FAILED_AFTER, GROUP_BY, KEEP_DAILY, KEEP_FREE, KEEP_HOURLY, KEEP_LAST,
    KEEP_MONTHLY, KEEP_QUARTERLY, KEEP_WEEKLY, KEEP_WITHIN, KEEP_WITHIN_DAILY, KEEP_WITHIN_HOURLY,
    KEEP_WITHIN_MONTHLY, KEEP_WITHIN_QUARTERLY, KEEP_WITHIN_WEEKLY, KEEP_WITHIN_YEARLY,
    KEEP_YEARLY, MAX_COUNT, MAX_TOTAL_SIZE, OLDER_THAN, REQUIRE_COPY, TIME_ZONE,
};
use crate::group::Key;

/// How old a failed backup gets unless `--failed-after` says otherwise.
const DEFAULT_FAILED_AFTER: &str = "7d";
/// What makes a group unless `--group-by` says otherwise.
const DEFAULT_GROUP_BY: &str = "sources,type,host";

/// What is to be kept.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Each keeps on its own, within each group. Without any, all is kept that does not expire.
    pub(crate) rules: Vec<Rule>,
    /// What all of it together may be.
    pub(crate) caps: Caps,
    /// Locations: what has no complete copy at one of them stays.
    pub(crate) require_copy: Vec<String>,
    /// What makes a group.
    pub(crate) group_by: Vec<Key>,
    /// Whose catalog it is: it may have had other names.
    pub(crate) here: Host,
    /// Whether the newest of a group may be removed too.
    pub(crate) allow_empty: bool,
    /// How old failed ones get.
    pub(crate) failed_after: Age,
    /// Whose hours, days and so on count.
    pub(crate) zone: TimeZone,
}

/// A rule that keeps.
#[derive(Debug, Clone)]
pub(crate) enum Rule {
    /// The newest of each of the newest periods; without a period, the newest. `None` is no limit.
    Count(Option<Period>, Option<usize>),
    /// The newest of each period, or all, within a span before the newest of the group.
    Within(Option<Period>, Age),
    /// All that is not older.
    NotOlder(Age),
}

/// Limits over all groups, which remove the oldest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caps {
    pub(crate) count: Option<usize>,
    pub(crate) total_bytes: Option<u64>,
    /// What is to be free on each file system.
    pub(crate) free_bytes: Option<u64>,
}

/// A span of the calendar.
#[derive(Debug, Clone)]
pub(crate) struct Age {
    /// As it was typed.
    pub(crate) text: String,
    span: Span,
}

impl Rule {
    /// As it is typed, without the dashes.
    pub(crate) fn text(&self) -> String {
        let of = |period: &Option<Period>| match period {
            None => String::new(),
            Some(period) => format!("-{}", period.name()),
        };
        match self {
            Self::Count(None, limit) => format!("keep-last {}", limit_text(*limit)),
            Self::Count(period, limit) => format!("keep{} {}", of(period), limit_text(*limit)),
            Self::Within(period, age) => format!("keep-within{} {}", of(period), age.text),
            Self::NotOlder(age) => format!("older-than {}", age.text),
        }
    }
}

impl Age {
    /// # Errors
    /// What is no span; minutes that look like months.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || invalid("span", text, "12h, 30d, 2w, 6mo or 1y");
        let span: Span = text.parse().map_err(|_| wrong())?;
        if span.is_negative() {
            return Err(wrong());
        }
        units::check_no_bare_m(text)?;
        Ok(Self {
            text: text.to_owned(),
            span,
        })
    }

    /// The time that lies so long before. What leaves the calendar is the beginning of time.
    pub(crate) fn before(&self, time: Timestamp, zone: &TimeZone) -> Timestamp {
        let zoned = time.to_zoned(zone.clone()).checked_sub(self.span);
        zoned.map_or(Timestamp::MIN, |zoned| zoned.timestamp())
    }
}

impl Policy {
    /// A time as reasons tell it.
    pub(crate) fn shown(&self, time: Timestamp) -> String {
        let time = time.to_zoned(self.zone.clone());
        time.strftime("%Y-%m-%d %H:%M").to_string()
    }

    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        let caps = Caps {
            count: arguments.parsed(&MAX_COUNT, parse_count)?,
            total_bytes: arguments.parsed(&MAX_TOTAL_SIZE, units::parse_size)?,
            free_bytes: arguments.parsed(&KEEP_FREE, units::parse_size)?,
        };
        let failed_after = arguments.parsed(&FAILED_AFTER, Age::parse)?;
        let policy = Self {
            rules: rules(arguments)?,
            caps,
            require_copy: copies::locations(arguments, &REQUIRE_COPY)?,
            group_by: Key::parse_all(arguments.text(&GROUP_BY)?.unwrap_or(DEFAULT_GROUP_BY))
                .map_err(|e| bk_cli::usage(&e, "--group-by"))?,
            here: Host::default(),
            allow_empty: arguments.has(&ALLOW_EMPTY),
            failed_after: failed_after.map_or_else(|| Age::parse(DEFAULT_FAILED_AFTER), Ok)?,
            zone: zone(arguments)?,
        };
        if policy.rules.is_empty() && policy.caps.is_none() && !arguments.has(&EXPIRED) {
            let text = "there is no rule: give one, such as --keep-daily 7, or --expired to apply the expiry of the backups alone";
            return Err(UsageError(text.into()).into());
        }
        Ok(policy)
    }

    /// Why that goes which no rule keeps.
    pub(crate) fn reason_to_remove(&self) -> String {
        match self.rules.as_slice() {
            [Rule::NotOlder(age)] => format!("older than {}", age.text),
            _ => "kept by no rule".to_owned(),
        }
    }
}

impl Caps {
    /// Whether there is no limit.
    pub(crate) fn is_none(&self) -> bool {
        self.count.is_none() && self.total_bytes.is_none() && self.free_bytes.is_none()
    }
}

/// The rule that counts backups and the one that keeps those of a span of time: of all backups, or
/// the last of each period.
const RULES: [(Option<Period>, Flag, Flag); 7] = [
    (None, KEEP_LAST, KEEP_WITHIN),
    (Some(Period::Hour), KEEP_HOURLY, KEEP_WITHIN_HOURLY),
    (Some(Period::Day), KEEP_DAILY, KEEP_WITHIN_DAILY),
    (Some(Period::Week), KEEP_WEEKLY, KEEP_WITHIN_WEEKLY),
    (Some(Period::Month), KEEP_MONTHLY, KEEP_WITHIN_MONTHLY),
    (Some(Period::Quarter), KEEP_QUARTERLY, KEEP_WITHIN_QUARTERLY),
    (Some(Period::Year), KEEP_YEARLY, KEEP_WITHIN_YEARLY),
];

fn rules(arguments: &Arguments) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (period, flag, _) in RULES {
        let limit = arguments.parsed(&flag, parse_limit)?;
        rules.extend(limit.map(|limit| Rule::Count(period, limit)));
    }
    for (period, _, flag) in RULES {
        let age = arguments.parsed(&flag, Age::parse)?;
        rules.extend(age.map(|age| Rule::Within(period, age)));
    }
    let older = arguments.parsed(&OLDER_THAN, Age::parse)?;
    rules.extend(older.map(Rule::NotOlder));
    Ok(rules)
}

fn zone(arguments: &Arguments) -> Result<TimeZone> {
    let parse = |name: &str| {
        let accepted = "a name such as Europe/Berlin or UTC";
        TimeZone::get(name).map_err(|_| invalid("time zone", name, accepted))
    };
    let zone = arguments.parsed(&TIME_ZONE, parse)?;
    Ok(zone.unwrap_or_else(bk_cli::zone::local))
}

fn limit_text(limit: Option<usize>) -> String {
    limit.map_or_else(|| "all".to_owned(), |limit| limit.to_string())
}

/// A number of backups, or no limit.
fn parse_limit(text: &str) -> Result<Option<usize>> {
    match text {
        "all" => Ok(None),
        _ => parse_count(text)
            .map(Some)
            .map_err(|error| anyhow::anyhow!("{error}, or all")),
    }
}

fn parse_count(text: &str) -> Result<usize> {
    let count: Option<usize> = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| invalid("number", text, "a number from 1 on"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_one_of_the_calendar() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let before = |span: &str, time: &str| {
            let time = Age::parse(span)
                .unwrap()
                .before(time.parse().unwrap(), &zone);
            time.to_string()
        };
        // A day over the change is 25 hours; the month that is shorter ends on its last day.
        assert_eq!(
            before("1d", "2026-10-25T12:00:00+01:00"),
            "2026-10-24T10:00:00Z"
        );
        assert_eq!(
            before("24h", "2026-10-25T12:00:00+01:00"),
            "2026-10-24T11:00:00Z"
        );
        assert_eq!(
            before("1mo", "2026-03-31T12:00:00Z"),
            "2026-02-28T13:00:00Z"
        );
        assert_eq!(before("1y", "2024-02-29T12:00:00Z"), "2023-02-28T12:00:00Z");
        assert_eq!(
            before("15000y", "2024-02-29T12:00:00Z"),
            Timestamp::MIN.to_string()
        );
    }

    #[test]
    fn minutes_are_not_taken_for_months() {
        for text in ["6m", "1y 6m", "2h30m", "", "7", "-1d", "soon"] {
            assert!(Age::parse(text).is_err(), "{text}");
        }
        for text in ["6mo", "1y 6mo", "90min", "2h30min", "7d", "2w", "0s"] {
            assert!(Age::parse(text).is_ok(), "{text}");
        }
    }
}
