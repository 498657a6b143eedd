//! Which backups a command line asks for, by flags that several programs have.
//!
//! A pure function of records and `now`. Knows no catalog and no file.

use anyhow::Result;
use bk_schema::clock::is_in_future;
use bk_schema::globs::Globs;
use bk_schema::host::Host;
use bk_schema::record::{Backup, BackupType, Status};
use jiff::{Span, Timestamp};

use crate::flags::{Arguments, Flag, option, switch};
use crate::message::UsageError;
use crate::units;

/// The types of a backup.
pub const TYPES: &str = "manual|pre-upgrade|automatic";
/// When it was created.
pub const SINCE: Flag = option("since", "TIME", "created at TIME (a date, 30d) or later");
/// When it was created.
pub const UNTIL: Flag = option("until", "TIME", "created before TIME");
/// Its name.
pub const NAME: Flag = option("name", "GLOB", "whose name matches");
/// Where it was made.
pub const HOST: Flag = option("host", "NAME", "made on this host");
/// What it is of.
pub const SOURCE_VERSION: Flag = option("source-version", "VERSION", "of this version");
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
    pub here: Host,
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
            latest,
        })
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

/// Whether it was made since a time. One from the future has an unknown age, and matches only if
/// that time is in the future too.
fn is_since(backup: &Backup, time: Timestamp, now: Timestamp) -> bool {
    backup.created_at >= time && (time >= now || !is_in_future(backup.created_at, now))
}
