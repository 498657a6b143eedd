//! Selects and orders backups: a pure function of records, criteria and `now`.
//!
//! Knows no catalog and no file.

use std::cmp::Ordering;

use anyhow::Result;
use bk_cli::listing::{FileStatus, Listed};
use bk_cli::selection::Selection;
use bk_cli::{Arguments, copies, units};
use bk_schema::invalid::parse_choice;
use bk_schema::record::{Backup, Status};
use bk_schema::verified::LastVerified;
use bk_store::Session;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::flags::{
    AVAILABLE, EXPIRED, EXPIRES_WITHIN, LARGER, LIMIT, MISSING, OFFLINE, PROTECTED, REMOTE,
    REVERSE, SORT, STATUS, TYPE, UNVERIFIED_FOR, WITH_COPY, WITHOUT_COPY,
};

/// The filters and the order. A backup must pass all filters that are given.
#[derive(Debug, Default)]
pub(crate) struct Criteria {
    pub(crate) selection: Selection,
    states: Vec<Status>,
    file_status: Option<FileStatus>,
    expired: bool,
    expires_until: Option<Timestamp>,
    protected: bool,
    larger_bytes: Option<u64>,
    unverified_since: Option<Timestamp>,
    /// Locations, at each of which it has a complete copy.
    with_copy: Vec<String>,
    /// Locations, at each of which it has none.
    without_copy: Vec<String>,
    sort: Option<Key>,
    reverse: bool,
    limit: Option<usize>,
}

/// A record, and the keys of its line of input.
pub(crate) type Row = (Backup, Map<String, Value>);

/// What to order by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Id,
    Name,
    Type,
    Status,
    Version,
    Created,
    Expires,
    Size,
    Files,
}

const KEYS: [(&str, Key); 9] = [
    ("id", Key::Id),
    ("name", Key::Name),
    ("type", Key::Type),
    ("status", Key::Status),
    ("version", Key::Version),
    ("created", Key::Created),
    ("expires", Key::Expires),
    ("size", Key::Size),
    ("files", Key::Files),
];

impl Criteria {
    pub(crate) fn new(arguments: &Arguments, now: Timestamp) -> Result<Self> {
        let file_status = arguments.one_of(&[
            (AVAILABLE, FileStatus::Available),
            (MISSING, FileStatus::Missing),
            (OFFLINE, FileStatus::Offline),
            (REMOTE, FileStatus::Remote),
        ])?;
        Ok(Self {
            selection: Selection::new(arguments, &TYPE, now)?,
            states: arguments.all_parsed(&STATUS, Status::parse)?,
            file_status,
            expired: arguments.has(&EXPIRED),
            expires_until: arguments
                .parsed(&EXPIRES_WITHIN, |text| units::parse_future(text, now))?,
            protected: arguments.has(&PROTECTED),
            larger_bytes: arguments.parsed(&LARGER, units::parse_size)?,
            unverified_since: arguments
                .parsed(&UNVERIFIED_FOR, |text| units::parse_past(text, now))?,
            with_copy: copies::locations(arguments, &WITH_COPY)?,
            without_copy: copies::locations(arguments, &WITHOUT_COPY)?,
            sort: arguments.parsed(&SORT, |key| parse_choice(&KEYS, key, "key"))?,
            reverse: arguments.has(&REVERSE),
            limit: arguments.parsed(&LIMIT, units::parse_count)?,
        })
    }

    /// Asks the catalog what it takes to tell.
    ///
    /// # Errors
    /// [`UsageError`](bk_cli::UsageError) for what the catalog does not know.
    pub(crate) fn ask(&mut self, session: &Session<'_>) -> Result<()> {
        copies::check_known(session, &self.with_copy)?;
        copies::check_known(session, &self.without_copy)?;
        self.selection.ask(session)
    }

    /// Whether it selects what is expired or old by the clock, which may then be removed.
    pub(crate) fn selects_old(&self) -> bool {
        self.expired || self.selection.selects_old()
    }

    /// The selected backups, in their order unless another was asked for. `stat` inspects the archive
    /// of a backup, and is only called for those that a filter on archives may select, or else for
    /// the selected ones.
    pub(crate) fn select<'a>(
        &self,
        all: Vec<Row>,
        now: Timestamp,
        stat: impl Fn(Row) -> Listed + 'a,
    ) -> Box<dyn Iterator<Item = Listed> + 'a> {
        let matching = all.into_iter().filter(|row| self.is_met_by(&row.0, now));
        match self.file_status {
            None => {
                let selected = self.order(matching.collect(), |row| &row.0, now);
                Box::new(selected.into_iter().map(stat))
            }
            Some(wanted) => {
                let is_met = |listed: &Listed| {
                    listed.backup.status == Status::Completed && listed.file_status == wanted
                };
                let selected = matching.map(stat).filter(is_met).collect();
                let selected = self.order(selected, |listed| &listed.backup, now);
                Box::new(selected.into_iter())
            }
        }
    }

    fn order<T>(&self, mut selected: Vec<T>, of: fn(&T) -> &Backup, now: Timestamp) -> Vec<T> {
        self.selection.retain_latest(&mut selected, of, now);
        if let Some(key) = self.sort {
            selected.sort_by(|a, b| compare(of(a), of(b), key).then(of(a).id.cmp(&of(b).id)));
        }
        if self.reverse {
            selected.reverse();
        }
        selected.truncate(self.limit.unwrap_or(usize::MAX));
        selected
    }

    fn is_met_by(&self, backup: &Backup, now: Timestamp) -> bool {
        let size = backup.backup_size;
        self.selection.is_met_by(backup, now)
            && (self.states.is_empty() || self.states.contains(&backup.status))
            && (!self.expired || backup.expires_at.is_some_and(|time| time <= now))
            && self.expires_until.is_none_or(|end| {
                backup
                    .expires_at
                    .is_some_and(|time| time > now && time <= end)
            })
            && (!self.protected || backup.protected)
            && self
                .larger_bytes
                .is_none_or(|bytes| size.is_some_and(|size| size > bytes))
            && self
                .unverified_since
                .is_none_or(|time| is_unverified_since(backup, time, now))
            && self.with_copy.iter().all(|it| backup.has_copy(it))
            && self
                .without_copy
                .iter()
                .all(|it| is_without_copy(backup, it))
    }
}

/// Completed, and not verified after that time.
fn is_unverified_since(backup: &Backup, time: Timestamp, now: Timestamp) -> bool {
    let last = LastVerified::verified_at(backup, now);
    backup.status == Status::Completed && last.is_none_or(|last| last <= time)
}

/// Completed, and without a complete copy at a location.
fn is_without_copy(backup: &Backup, location: &str) -> bool {
    backup.status == Status::Completed && !backup.has_copy(location)
}

/// A missing value comes last.
fn compare(a: &Backup, b: &Backup, key: Key) -> Ordering {
    fn known_first<T: Ord>(a: Option<T>, b: Option<T>) -> Ordering {
        (a.is_none(), a).cmp(&(b.is_none(), b))
    }
    match key {
        Key::Id => a.id.cmp(&b.id),
        Key::Name => a.backup_name.cmp(&b.backup_name),
        Key::Type => a.backup_type.cmp(&b.backup_type),
        Key::Status => a.status.cmp(&b.status),
        Key::Version => known_first(a.source_version.as_ref(), b.source_version.as_ref()),
        Key::Created => a.created_at.cmp(&b.created_at),
        Key::Expires => known_first(a.expires_at, b.expires_at),
        Key::Size => known_first(a.backup_size, b.backup_size),
        Key::Files => known_first(a.file_count, b.file_count),
    }
}
