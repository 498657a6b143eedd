//! The local time zone: `TZ`, else `/etc/localtime`, else UTC, as in tzset(3).
//!
//! Unlike tzset(3), a zone that is not installed is an error and not silently UTC: each program
//! calls [`check`] before it begins.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, anyhow};
use jiff::tz::TimeZone;

const LOCALTIME: &str = "/etc/localtime";
/// The rule that the C library assumes for a zone with daylight saving and no rule of its own.
const RULE: &str = ",M3.2.0,M11.1.0";
/// Names of UTC, which need no files.
const UTC: [&str; 6] = ["UTC", "GMT", "Etc/UTC", "Etc/GMT", "Zulu", "Universal"];

/// Checks that the zone can be found.
///
/// # Errors
/// `TZ` or `/etc/localtime` names a zone that is not installed.
pub fn check() -> Result<()> {
    find().map(drop)
}

/// The zone; UTC if it can no longer be found.
pub fn local() -> TimeZone {
    // `check` has reported this before.
    find().unwrap_or(TimeZone::UTC)
}

fn find() -> Result<TimeZone> {
    let named = std::env::var_os("TZ");
    if let Ok(zone) = TimeZone::try_system() {
        return Ok(zone);
    }
    let Some(named) = named else {
        return localtime();
    };
    let name = named.to_str().map(|text| text.trim_start_matches(':'));
    match name.and_then(by_rule) {
        Some(zone) => Ok(zone),
        None => Err(unknown("TZ", &named)),
    }
}

/// Names of UTC and POSIX rules, which need no files.
fn by_rule(name: &str) -> Option<TimeZone> {
    if name.is_empty() || UTC.contains(&name) {
        return Some(TimeZone::UTC);
    }
    TimeZone::posix(&format!("{name}{RULE}")).ok()
}

/// Without `TZ`, if `/etc/localtime` cannot be used.
fn localtime() -> Result<TimeZone> {
    let Ok(there) = std::fs::symlink_metadata(LOCALTIME) else {
        return Ok(TimeZone::UTC);
    };
    // Slim images of Debian have the link but not its target.
    let link = std::fs::read_link(LOCALTIME).unwrap_or_default();
    let is_utc = UTC.iter().any(|name| link.ends_with(Path::new(name)));
    if there.is_symlink() && is_utc {
        return Ok(TimeZone::UTC);
    }
    Err(unknown(LOCALTIME, link.as_os_str()))
}

fn unknown(place: &str, name: &OsStr) -> anyhow::Error {
    let name = name.display();
    anyhow!("unknown time zone '{name}' in {place}: install tzdata, or use TZ=UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_files_is_known() {
        for name in ["", "UTC", "Etc/UTC", "EST5EDT", "CET-1CEST"] {
            assert!(by_rule(name).is_some(), "{name}");
        }
        for name in ["Europe/Berlin", "Foo", "CET-1CEST,nonsense", "/etc/passwd"] {
            assert!(by_rule(name).is_none(), "{name}");
        }
    }
}
