//! Copies elsewhere, as command lines ask for them: by the names of locations.
//!
//! Knows of a location only its name.

use anyhow::Result;
use bk_schema::copy::check_location;
use bk_schema::record::{Backup, Status};
use bk_store::storage::Unreachable;
use bk_store::{Home, Session};

use crate::flags::{Arguments, Flag, option};
use crate::message::UsageError;

/// Where a backup must have a copy before it is removed.
pub const REQUIRE_COPY: Flag = option(
    "require-copy",
    "LOCATION",
    "leave what has no complete copy there",
);

/// The locations that a repeated flag names.
///
/// # Errors
/// [`UsageError`] for what cannot be the name of one.
pub fn locations(arguments: &Arguments, flag: &Flag) -> Result<Vec<String>> {
    arguments.all_parsed(flag, |name| {
        check_location(name)?;
        Ok(name.to_owned())
    })
}

/// Checks that the catalog knows these locations.
///
/// # Errors
/// [`UsageError`], which lists those that it knows.
pub fn check_known(session: &Session<'_>, locations: &[String]) -> Result<()> {
    if locations.is_empty() {
        return Ok(());
    }
    let known: Vec<_> = session.locations()?.into_iter().map(|it| it.0).collect();
    check_among(&known, locations)
}

/// Checks that these locations are among the known ones.
///
/// # Errors
/// [`UsageError`], which lists those that are known.
pub fn check_among(known: &[String], locations: &[String]) -> Result<()> {
    match locations.iter().find(|it| !known.contains(it)) {
        Some(unknown) => Err(UsageError(unknown_location(unknown, known)).into()),
        None => Ok(()),
    }
}

/// What is wrong with a location that none of the known ones is.
#[must_use]
pub fn unknown_location(unknown: &str, known: &[String]) -> String {
    let remedy = match known {
        [] => format!("'bk-push --set {unknown} URL' names one"),
        [one] => format!("use {one}"),
        [others @ .., last] => format!("use {} or {last}", others.join(", ")),
    };
    format!("there is no location '{unknown}': {remedy}")
}

/// Why an archive that never was here cannot be read, with the remedy; `None` where it is here, and of any
/// other.
#[must_use]
pub fn remote_obstacle(home: &Home, backup: &Backup) -> Option<String> {
    let obstacle = remote_told(backup)?;
    match home.storages.stat(backup.backup_path.as_ref()) {
        Ok(None) | Err(Unreachable::Storage { .. }) => Some(obstacle),
        _ => None,
    }
}

/// The same, of one whose archive is known not to be here.
#[must_use]
pub fn remote_told(backup: &Backup) -> Option<String> {
    let location = backup.remote()?.escape_debug();
    let name = backup.backup_name.escape_debug();
    Some(format!(
        "its archive is at '{location}' and not here: 'bk-pull {location} {name}' brings it"
    ))
}

/// Where a backup lacks a complete copy that is required. One that failed has no archive, and
/// lacks none.
pub fn lacking<'a>(backup: &Backup, required: &'a [String]) -> impl Iterator<Item = &'a str> {
    let required = required.iter().map(String::as_str);
    required.filter(|location| backup.status != Status::Failed && !backup.has_copy(location))
}
