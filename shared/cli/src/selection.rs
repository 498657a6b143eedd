//! Which backups a command line asks for, by flags that several programs have.
//!
//! A pure function of records and `now`, but for what [`Selection::ask`] asks before. Knows no file.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, ensure};
use bk_schema::clock::is_in_future;
use bk_schema::globs::Globs;
use bk_schema::host::Host;
use bk_schema::metadata::parse_value;
use bk_schema::record::{Backup, BackupType, Status};
use bk_store::Session;
use jiff::{Span, Timestamp};
use serde_json::Value;

use crate::flags::{Arguments, Flag, option, switch};
use crate::message::{UsageError, usage};
use crate::output::from_base64;
use crate::units;

/// The types of a backup.
pub const TYPES: &str = "manual|pre-upgrade|automatic";
/// When it was created.
pub const SINCE: Flag = option(
    "since",
    "TIME",
    "backups created at TIME (a date, 30d) or later",
);
/// When it was created.
pub const UNTIL: Flag = option("until", "TIME", "backups created before TIME");
/// Its name.
pub const NAME: Flag = option("name", "GLOB", "backups whose name matches");
/// Where it was made.
pub const HOST: Flag = option("host", "NAME", "backups made on this host");
/// What it is of.
pub const SOURCE_VERSION: Flag = option("source-version", "VERSION", "backups of this version");
/// What it is of.
pub const SOURCE: Flag = option(
    "source",
    "PATH",
    "backups of PATH, or of something below it",
);
/// What it was made for.
pub const JOB: Flag = option("job", "JOB", "backups made for this job of bk-auto");
/// What is known of it.
pub const METADATA: Flag = option("metadata", "KEY[=VALUE]", "backups with this metadata");
/// Anything.
pub const WHERE: Flag = option("where", "SQL", "backups for which this is true");
/// The newest.
pub const LATEST: Flag = switch("latest", "only the newest completed one");
/// The newest, by type.
pub const EACH_TYPE: Flag = switch("each-type", "with --latest: the newest of each type");

/// What is asked for. A backup must be all of it.
#[derive(Debug, Default)]
pub struct Selection {
    types: Vec<BackupType>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// Whether `--until` was given as a span before now.
    is_until_span: bool,
    name: Option<Globs>,
    source_version: Option<String>,
    host: Option<String>,
    /// The host of this home, with its earlier names.
    here: Host,
    source: Option<PathBuf>,
    job: Option<String>,
    /// Keys, each with the value that is asked for.
    metadata: Vec<(String, Option<Value>)>,
    expression: Option<String>,
    /// Those for which the expression is true.
    matching: HashSet<i64>,
    latest: Option<Latest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Latest {
    OfAll,
    OfEachType,
}

impl Selection {
    /// Reads the flags. `types` is the program's own flag for [`TYPES`].
    ///
    /// # Errors
    /// [`UsageError`] for a value that cannot be used.
    pub fn new(arguments: &Arguments, types: &Flag, now: Timestamp) -> Result<Self> {
        let latest = match (arguments.has(&LATEST), arguments.has(&EACH_TYPE)) {
            (false, true) => return Err(UsageError("--each-type needs --latest".into()).into()),
            (true, true) => Some(Latest::OfEachType),
            (true, false) => Some(Latest::OfAll),
            (false, false) => None,
        };
        Ok(Self {
            types: arguments.all_parsed(types, BackupType::parse)?,
            since: arguments.parsed(&SINCE, |text| units::parse_past(text, now))?,
            until: arguments.parsed(&UNTIL, |text| units::parse_past(text, now))?,
            is_until_span: arguments
                .text(&UNTIL)?
                .is_some_and(|text| text.parse::<Span>().is_ok()),
            name: arguments.parsed(&NAME, |glob| Globs::new([glob]))?,
            source_version: arguments.text(&SOURCE_VERSION)?.map(str::to_owned),
            host: arguments.text(&HOST)?.map(str::to_owned),
            here: Host::default(),
            source: arguments.value(&SOURCE).map(absolute).transpose()?,
            job: arguments.text(&JOB)?.map(str::to_owned),
            metadata: arguments.all_parsed(&METADATA, parse_metadata)?,
            expression: arguments.text(&WHERE)?.map(str::to_owned),
            matching: HashSet::new(),
            latest,
        })
    }

    /// Asks the catalog what it takes to tell.
    ///
    /// # Errors
    /// [`UsageError`] for an expression that cannot be used, and those of the catalog.
    pub fn ask(&mut self, session: &Session<'_>) -> Result<()> {
        self.here = session.host()?;
        if let Some(expression) = &self.expression {
            let matching = session.ids_where(expression);
            self.matching = matching.map_err(|error| match error.to_string() {
                text if text.starts_with("IO Error") => error,
                _ => usage(&error, "--where"),
            })?;
        }
        Ok(())
    }

    /// Whether it selects what is old by the clock, which may then be removed.
    #[must_use]
    pub fn selects_old(&self) -> bool {
        self.is_until_span
    }

    /// Whether it selects what is new by the clock.
    #[must_use]
    pub fn selects_new(&self) -> bool {
        self.latest.is_some() || self.since.is_some()
    }

    /// Whether a backup is what is asked for, but for being the latest.
    #[must_use]
    pub fn is_met_by(&self, backup: &Backup, now: Timestamp) -> bool {
        (self.types.is_empty() || self.types.contains(&backup.backup_type))
            && self.since.is_none_or(|time| is_since(backup, time, now))
            && self.until.is_none_or(|time| backup.created_at < time)
            && self
                .name
                .as_ref()
                .is_none_or(|glob| glob.matches(backup.backup_name.as_bytes(), false))
            && (self.source_version.is_none() || self.source_version == backup.source_version)
            && (self.host.is_none() || self.host.as_deref() == self.here.of(backup))
            && self.source.as_ref().is_none_or(|path| is_of(backup, path))
            && (self.job.is_none() || self.job.as_deref() == backup.job())
            && self.metadata.iter().all(|(key, value)| {
                let known = backup.backup_metadata.get(key);
                known.is_some_and(|known| value.as_ref().is_none_or(|value| value == known))
            })
            && (self.expression.is_none() || self.matching.contains(&backup.id))
    }

    /// Where only the latest is asked for: the newest completed ones, their order unchanged; one from
    /// the future only if there is no other.
    pub fn retain_latest<T>(&self, all: &mut Vec<T>, of: fn(&T) -> &Backup, now: Timestamp) {
        let Some(latest) = self.latest else { return };
        all.retain(|row| of(row).status == Status::Completed);
        let group = |row: &T| (latest == Latest::OfEachType).then_some(of(row).backup_type);
        let age = |row: &T| {
            let created = of(row).created_at;
            (!is_in_future(created, now), created, of(row).id)
        };
        let mut best = std::collections::BTreeMap::new();
        for row in &*all {
            let newest = best.entry(group(row)).or_insert_with(|| age(row));
            *newest = age(row).max(*newest);
        }
        all.retain(|row| best.get(&group(row)) == Some(&age(row)));
    }
}

/// Whether one of its sources is a path, or below it.
fn is_of(backup: &Backup, path: &Path) -> bool {
    let texts = |key: &str| {
        let all = backup.backup_metadata.get(key).and_then(Value::as_array);
        all.map(|all| all.iter().filter_map(Value::as_str))
    };
    let paths: Vec<_> = match (texts("sources_base64"), texts("sources")) {
        (Some(encoded), _) => encoded
            .filter_map(|it| from_base64(it).ok())
            .map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
            .collect(),
        (None, plain) => plain.into_iter().flatten().map(PathBuf::from).collect(),
    };
    paths.iter().any(|source| source.starts_with(path))
}

fn absolute(path: &OsString) -> Result<PathBuf> {
    // As bk-create does it, which also keeps no slash at the end.
    let leads_up = Path::new(path)
        .components()
        .any(|it| it == Component::ParentDir);
    let found = match leads_up {
        true => Path::new(path).canonicalize(),
        false => std::path::absolute(path),
    };
    let found = found.map_err(|error| usage(&error.into(), "--source"))?;
    Ok(found.components().collect())
}

/// `KEY`, or `KEY=VALUE` with the value as bk-create takes it.
fn parse_metadata(text: &str) -> Result<(String, Option<Value>)> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(parse_value(value))),
        None => (text, None),
    };
    ensure!(!key.is_empty(), "a key cannot be empty");
    Ok((key.to_owned(), value))
}

/// Whether it was made since a time. One from the future has an unknown age, and matches only if
/// that time is in the future too.
fn is_since(backup: &Backup, time: Timestamp, now: Timestamp) -> bool {
    backup.created_at >= time && (time >= now || !is_in_future(backup.created_at, now))
}
