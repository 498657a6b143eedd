//! The local time zone: that of `TZ`, else of `/etc/localtime`, else UTC, as the C library has it.
//!
//! One that is named and not to be found is a mistake, which the C library takes for UTC without
//! a word: each program asks [`check`] before it begins.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, anyhow};
use jiff::tz::TimeZone;

const LOCALTIME: &str = "/etc/localtime";
/// What the C library takes for the rule of a zone with summer time that tells none.
const RULE: &str = ",M3.2.0,M11.1.0";
/// Names of UTC, which need no files.
const UTC: [&str; 6] = ["UTC", "GMT", "Etc/UTC", "Etc/GMT", "Zulu", "Universal"];

/// # Errors
/// A zone that is named and not to be found.
pub fn check() -> Result<()> {
    find().map(drop)
}

/// The zone; UTC where it can no longer be found.
#[must_use]
pub fn local() -> TimeZone {
    // What could not be found at the start was told by `check`.
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

/// What needs no files, and what jiff does not know by itself.
fn by_rule(name: &str) -> Option<TimeZone> {
    if name.is_empty() || UTC.contains(&name) {
        return Some(TimeZone::UTC);
    }
    TimeZone::posix(&format!("{name}{RULE}")).ok()
}

/// Without `TZ`, where `/etc/localtime` says nothing that can be used.
fn localtime() -> Result<TimeZone> {
    let Ok(there) = std::fs::symlink_metadata(LOCALTIME) else {
        return Ok(TimeZone::UTC);
    };
    // Slim images of Debian have the link, and not what it leads to.
    let link = std::fs::read_link(LOCALTIME).unwrap_or_default();
    let is_utc = UTC.iter().any(|name| link.ends_with(Path::new(name)));
    if there.is_symlink() && is_utc {
        return Ok(TimeZone::UTC);
    }
    Err(unknown(LOCALTIME, link.as_os_str()))
}

fn unknown(place: &str, name: &OsStr) -> anyhow::Error {
    let name = name.display();
    anyhow!(
        "{place} names the time zone '{name}', which is not installed here: install tzdata, or say TZ=UTC"
    )
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
