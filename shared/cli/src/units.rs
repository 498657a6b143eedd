//! Sizes and times as people write them: `20G`, `30d`, `2026-11-24`.
//!
//! Knows no clock: what is relative is relative to the `now` that it is given.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Span, Timestamp, civil};

use crate::zone;

const SIZE_UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// Bytes from `500M`, `1.5TiB` or `4096`; `K`, `KB` and `KiB` all mean 1024.
///
/// # Errors
/// What is no number with a known unit, is negative, or does not fit 63 bits.
pub fn parse_size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 1,
        "M" | "MB" | "MIB" => 2,
        "G" | "GB" | "GIB" => 3,
        "T" | "TB" | "TIB" => 4,
        "P" | "PB" | "PIB" => 5,
        _ => bail!("'{text}' is no size: write it as 500M, 20G or 1.5TiB"),
    };
    let number: f64 = digits
        .trim()
        .parse()
        .ok()
        .with_context(|| format!("'{text}' is no size: write it as 500M, 20G or 1.5TiB"))?;
    let bytes = number * 1024f64.powi(power);
    if !(0.0..9.0e18).contains(&bytes) {
        bail!("'{text}' is no size: it is out of range");
    }
    Ok(bytes as u64)
}

/// Bytes for people, to three digits: `512 B`, `1.50 MiB`.
#[must_use]
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

/// A number of things.
///
/// # Errors
/// What is none, or is negative.
pub fn parse_count(text: &str) -> Result<usize> {
    let count = text.parse().ok();
    count.with_context(|| format!("'{}' is no number", text.escape_debug()))
}

/// A span of time without a calendar: `90s`, `10min`, `1h 30m`.
///
/// # Errors
/// What is none, or is negative.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let parsed: Option<SignedDuration> = text.parse().ok();
    let duration = parsed.and_then(|span| Duration::try_from(span).ok());
    duration.with_context(|| format!("'{text}' is no span of time: write it as 90s, 10m or 1h"))
}

/// A point in time: RFC 3339, a date (its midnight in the local zone), or a span before `now`.
///
/// # Errors
/// What is none of these, or a span that leaves the calendar.
pub fn parse_past(text: &str, now: Timestamp) -> Result<Timestamp> {
    parse_absolute(text).map_or_else(|| shift(text, now, -1), Ok)
}

/// A point in time: RFC 3339, a date (its midnight in the local zone), or a span after `now`.
///
/// # Errors
/// What is none of these, or a span that leaves the calendar.
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

/// Other programs write months so.
///
/// # Errors
/// A span with `m` alone.
pub fn check_no_lone_m(text: &str) -> Result<()> {
    let mut words = text.split(|c: char| !c.is_alphabetic());
    if words.any(|word| word == "m") {
        bail!("'{text}' may mean minutes or months: write them as min or mo");
    }
    Ok(())
}

fn shift(text: &str, now: Timestamp, sign: i64) -> Result<Timestamp> {
    let wrong = || {
        format!(
            "'{text}' is no time: write it as 2026-11-24, 2026-11-24T08:00:00Z, 30d, 6mo or 12h"
        )
    };
    let span: Span = text.parse().ok().with_context(wrong)?;
    if span.is_negative() {
        bail!(wrong());
    }
    check_no_lone_m(text)?;
    let zoned = now.to_zoned(zone::local());
    let shifted = zoned.checked_add(span * sign).ok().with_context(wrong)?;
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
                let said = format!("'{text}' may mean minutes or months: write them as min or mo");
                assert_eq!(error.to_string(), said);
            }
        }
        for text in ["", "soon", "-3d", "99999999y"] {
            assert!(parse_past(text, now).is_err(), "{text}");
        }
    }
}
