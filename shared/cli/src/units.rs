//! Sizes, numbers and times as people write them: `20G`, `30d`, `2026-11-24`.
//!
//! Knows no clock: spans count from the `now` that it is given.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Result;
use bk_schema::invalid::invalid;
use jiff::{SignedDuration, Span, Timestamp, civil};

use crate::zone;

const SIZE_UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// A size in bytes, from `500M`, `1.5TiB` or `4096`; `K`, `KB` and `KiB` all mean 1024.
///
/// # Errors
/// Anything else, negative numbers, and more than 63 bits can hold.
pub fn parse_size(text: &str) -> Result<u64> {
    let wrong = || invalid("size", text, "a number with K, M, G, T or P, such as 500M");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 1,
        "M" | "MB" | "MIB" => 2,
        "G" | "GB" | "GIB" => 3,
        "T" | "TB" | "TIB" => 4,
        "P" | "PB" | "PIB" => 5,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| wrong())?;
    let bytes = number * 1024f64.powi(power);
    if !(0.0..9.0e18).contains(&bytes) {
        return Err(invalid("size", text, "a number from 0 to 7000P"));
    }
    Ok(bytes as u64)
}

/// A size for people, to three digits: `512 B`, `1.50 MiB`.
pub fn human_size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < SIZE_UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", SIZE_UNITS[unit])
}

/// A whole number, 0 or more.
///
/// # Errors
/// Anything else.
pub fn parse_count(text: &str) -> Result<usize> {
    let number = text.parse().ok();
    number.ok_or_else(|| invalid("number", text, "a whole number"))
}

/// A whole number in a range.
///
/// # Errors
/// Anything else; the message has the range.
pub fn parse_number<T>(text: &str, range: RangeInclusive<T>) -> Result<T>
where
    T: FromStr + PartialOrd + Display,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let accepted = format!("a number from {} to {}", range.start(), range.end());
        invalid("number", text, &accepted)
    })
}

/// A duration in hours or shorter units: `90s`, `10min`, `1h 30m`.
///
/// # Errors
/// Anything else, a number without a unit, and negative durations.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let parsed: Option<SignedDuration> = text.parse().ok();
    let duration = parsed.and_then(|span| Duration::try_from(span).ok());
    let accepted = "a number with a unit, such as 90s, 10m or 1h";
    duration.ok_or_else(|| invalid("duration", text, accepted))
}

/// A point in time: RFC 3339, a date (its midnight in the local zone), or a span before `now`.
///
/// # Errors
/// Anything else, a negative span, and a span that leaves the calendar.
pub fn parse_past(text: &str, now: Timestamp) -> Result<Timestamp> {
    parse_absolute(text).map_or_else(|| shift(text, now, -1), Ok)
}

/// A point in time: RFC 3339, a date (its midnight in the local zone), or a span after `now`.
///
/// # Errors
/// Anything else, a negative span, and a span that leaves the calendar.
pub fn parse_future(text: &str, now: Timestamp) -> Result<Timestamp> {
    parse_absolute(text).map_or_else(|| shift(text, now, 1), Ok)
}

fn parse_absolute(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let local = zone::local();
    let time = match text.parse::<civil::DateTime>() {
        Ok(time) => time,
        Err(_) => text.parse::<civil::Date>().ok()?.at(0, 0, 0, 0),
    };
    local.to_timestamp(time).ok()
}

/// Refuses the unit `m`: in a span of days it means minutes to some and months to others.
///
/// # Errors
/// A span with `m` as a unit.
pub fn check_no_bare_m(text: &str) -> Result<()> {
    let mut words = text.split(|c: char| !c.is_alphabetic());
    if words.any(|word| word == "m") {
        return Err(invalid("span", text, "min for minutes or mo for months"));
    }
    Ok(())
}

fn shift(text: &str, now: Timestamp, sign: i64) -> Result<Timestamp> {
    let wrong = || {
        let accepted = "2026-11-24, 2026-11-24T08:00:00Z, 30d, 6mo or 12h";
        invalid("time", text, accepted)
    };
    let span: Span = text.parse().map_err(|_| wrong())?;
    if span.is_negative() {
        return Err(wrong());
    }
    check_no_bare_m(text)?;
    let zoned = now.to_zoned(zone::local());
    let shifted = zoned.checked_add(span * sign).map_err(|_| wrong())?;
    Ok(shifted.timestamp())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1K", 1024),
            ("500M", 500 << 20),
            ("20g", 20 << 30),
            ("1.5TiB", 3 << 39),
            ("2KB", 2048),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "", "M", "-1", "1X", "1e30P", "inf", "nan", "5MM", "5I", "5IB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_written_to_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.50 KiB"),
            (1 << 20, "1.00 MiB"),
            (1_047_527_424, "999 MiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }

    #[test]
    fn times_are_absolute_or_relative_to_now() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        assert_eq!(
            parse_past("12h", now).unwrap().to_string(),
            "2026-11-24T00:00:00Z"
        );
        assert_eq!(
            parse_future("12h", now).unwrap().to_string(),
            "2026-11-25T00:00:00Z"
        );
        assert_eq!(
            parse_past("2020-01-01T00:00:00Z", now).unwrap().to_string(),
            "2020-01-01T00:00:00Z"
        );
        assert_eq!(parse_duration("10m").unwrap(), Duration::from_secs(600));
        assert!(parse_duration("-1s").is_err() && parse_duration("10").is_err());
        assert_eq!(
            parse_future("90min", now).unwrap().to_string(),
            "2026-11-24T13:30:00Z"
        );
        for text in ["6m", "1y 6m", "1h30m"] {
            for error in [parse_past(text, now), parse_future(text, now)].map(Result::unwrap_err) {
                let said = format!("invalid span '{text}': use min for minutes or mo for months");
                assert_eq!(error.to_string(), said);
            }
        }
        for text in ["", "soon", "-3d", "99999999y"] {
            assert!(parse_past(text, now).is_err(), "{text}");
        }
    }
}
