//! What is known of each location: the copies there, and the backups that have none. A pure function of
//! the catalog's data.
//!
//! Knows no SQL, no clock and no network. The keys are a contract: they only grow.

use std::collections::{BTreeMap, BTreeSet};

use bk_schema::clock;
use bk_schema::copy::BackupCopy;
use bk_schema::record::{Backup, Status};
use jiff::Timestamp;
use serde::Serialize;

use crate::threshold::Alert;

/// The main fields of a copy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Newest {
    pub(crate) id: i64,
    pub(crate) backup_name: String,
    pub(crate) size: u64,
    pub(crate) copied_at: Timestamp,
}

/// One line of output; bk-record(5) describes the keys.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct LocationLine {
    pub(crate) location: String,
    /// Complete copies, also those whose record is gone.
    pub(crate) copy_count: u64,
    pub(crate) copy_bytes: u64,
    pub(crate) gone_count: u64,
    /// Completed backups that have no complete copy there.
    pub(crate) uncopied_count: u64,
    /// The one that was copied last.
    pub(crate) newest: Option<Newest>,
    pub(crate) alerts: Vec<Alert>,
}

/// A line for each location, by name: those that are named, and those where there are copies.
pub(crate) fn lines<'a>(
    named: &[String],
    copies: &[BackupCopy],
    backups: impl Iterator<Item = &'a Backup> + Clone,
    now: Timestamp,
) -> Vec<LocationLine> {
    let known: BTreeSet<_> = backups.clone().map(|it| it.id).collect();
    let mut by_location: BTreeMap<&str, Vec<&BackupCopy>> = BTreeMap::new();
    for name in named {
        by_location.insert(name, Vec::new());
    }
    for copy in copies.iter().filter(|it| it.is_complete()) {
        by_location.entry(&copy.location).or_default().push(copy);
    }
    let completed = backups.filter(|it| it.status == Status::Completed);
    let line = |(location, copies): (&str, Vec<&BackupCopy>)| {
        let bytes = copies.iter().map(|it| it.size.unwrap_or_default());
        let is_gone = |it: &&&BackupCopy| !known.contains(&it.backup_id);
        let uncopied = completed.clone().filter(|it| !it.has_copy(location));
        LocationLine {
            location: location.to_owned(),
            copy_count: copies.len() as u64,
            copy_bytes: bytes.fold(0, u64::saturating_add),
            gone_count: copies.iter().filter(is_gone).count() as u64,
            uncopied_count: uncopied.count() as u64,
            newest: newest(&copies, now),
            alerts: Vec::new(),
        }
    };
    by_location.into_iter().map(line).collect()
}

/// The age of one from the future is not known.
fn newest(copies: &[&BackupCopy], now: Timestamp) -> Option<Newest> {
    let aged = copies.iter().filter_map(|it| Some((it.copied_at?, it)));
    let past = aged.filter(|(at, _)| !clock::is_in_future(*at, now));
    let (copied_at, copy) = past.max_by_key(|(at, it)| (*at, it.backup_id))?;
    Some(Newest {
        id: copy.backup_id,
        backup_name: copy.backup_name.clone(),
        size: copy.size.unwrap_or_default(),
        copied_at,
    })
}
