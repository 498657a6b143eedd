//! What is told of each file system and of all: a pure function of what was read and seen.
//!
//! Knows no SQL, no clock and no files. The keys are a contract: they only grow.

use std::collections::BTreeMap;

use bk_schema::record::{Backup, BackupType, Status};
use bk_schema::verified::LastVerified;
use jiff::Timestamp;
use serde::Serialize;

use crate::alerts::Alert;
use crate::growth::{self, Growth};
use crate::look::{FileSystem, Stored, has_archive};

/// All that is known.
pub(crate) struct Facts<'a> {
    pub(crate) file_systems: &'a [FileSystem],
    /// Oldest first.
    pub(crate) stored: &'a [Stored],
    pub(crate) flows: &'a [Flow],
    pub(crate) ledger_since: Option<Timestamp>,
    /// What is to stay free of each; `None` for the default.
    pub(crate) reserve_bytes: Option<u64>,
    pub(crate) now: Timestamp,
}

/// Bytes that came or went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) at: Timestamp,
    pub(crate) bytes: i64,
    /// The file system, where it is one of those that are told of.
    pub(crate) place: Option<usize>,
}

/// How many, and what they take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

/// A backup, in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Brief {
    pub(crate) id: i64,
    pub(crate) backup_name: String,
    pub(crate) backup_size: u64,
    pub(crate) created_at: Timestamp,
}

/// One line.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    pub(crate) mountpoint: Option<String>,
    pub(crate) directories: Vec<String>,
    pub(crate) total: bool,
    pub(crate) backup_count: u64,
    pub(crate) backup_bytes: u64,
    pub(crate) by_status: BTreeMap<Status, Tally>,
    pub(crate) by_type: BTreeMap<BackupType, Tally>,
    #[serde(skip)]
    pub(crate) by_both: BTreeMap<(Status, BackupType), Tally>,
    pub(crate) missing_count: u64,
    pub(crate) expired_count: u64,
    pub(crate) expired_bytes: u64,
    pub(crate) largest: Option<Brief>,
    pub(crate) oldest: Option<Brief>,
    pub(crate) newest: Option<Brief>,
    pub(crate) longest_unverified: Option<Brief>,
    pub(crate) unverified_since: Option<Timestamp>,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) free_bytes: Option<u64>,
    pub(crate) reserve_bytes: Option<u64>,
    pub(crate) growth_bytes_per_day: Growth,
    pub(crate) next_backup_bytes: Option<u64>,
    pub(crate) days_left: Option<f64>,
    pub(crate) alerts: Vec<Alert>,
}

/// One for each file system, in the order of their mount points, then that of all.
pub(crate) fn summaries(facts: &Facts<'_>) -> Vec<Summary> {
    let count = facts.file_systems.len();
    let mut by_place: Vec<Vec<&Stored>> = vec![Vec::new(); count];
    for stored in facts.stored {
        by_place[stored.place].push(stored);
    }
    let of_one = |(place, stored): (usize, Vec<&Stored>)| facts.file_system(place, &stored);
    let mut all: Vec<_> = by_place.into_iter().enumerate().map(of_one).collect();
    // What cannot be reached comes last.
    all.sort_by_key(|it| (it.mountpoint.is_none(), it.mountpoint.clone()));
    all.push(facts.total(&all));
    all
}

impl Facts<'_> {
    fn file_system(&self, place: usize, stored: &[&Stored]) -> Summary {
        let file_system = &self.file_systems[place];
        let mut summary = self.backups(stored, |flow| flow.place == Some(place));
        summary.mountpoint.clone_from(&file_system.mountpoint);
        summary.directories.clone_from(&file_system.directories);
        if let Ok(space) = file_system.space {
            let default = || space.default_reserve();
            let reserve = self.reserve_bytes.unwrap_or_else(default);
            let growth = summary.growth_bytes_per_day.expected();
            summary.size_bytes = Some(space.total_bytes);
            summary.free_bytes = Some(space.available_bytes);
            summary.reserve_bytes = Some(reserve);
            summary.days_left = growth::days_left(space.available_bytes, reserve, growth);
        }
        summary
    }

    /// The sums of what is known; the days of the one that is full first.
    fn total(&self, all: &[Summary]) -> Summary {
        let stored: Vec<_> = self.stored.iter().collect();
        let sum = |bytes: fn(&Summary) -> Option<u64>| {
            let known = all.iter().filter_map(bytes);
            known.reduce(u64::saturating_add)
        };
        let days = all.iter().filter_map(|it| it.days_left);
        Summary {
            total: true,
            directories: all.iter().flat_map(|it| it.directories.clone()).collect(),
            size_bytes: sum(|it| it.size_bytes),
            free_bytes: sum(|it| it.free_bytes),
            reserve_bytes: sum(|it| it.reserve_bytes),
            days_left: days.reduce(f64::min),
            ..self.backups(&stored, |_| true)
        }
    }

    /// All that the records and the ledger tell.
    fn backups(&self, stored: &[&Stored], is_own: impl Fn(&Flow) -> bool) -> Summary {
        let is_missing = |it: &Stored| it.backup.status == Status::Completed && !it.is_there;
        let expired = tally(stored.iter().filter(|it| self.is_expired(&it.backup)));
        let all = tally(stored.iter());
        // One that is on its way is whole, wherever it is at this moment.
        let is_whole = |it: &&&Stored| {
            has_archive(&it.backup) && (it.is_there || it.backup.status == Status::Moving)
        };
        let whole: Vec<&Stored> = stored.iter().filter(is_whole).copied().collect();
        let unverified = whole.iter().min_by_key(|it| proved_at(&it.backup));
        let flows = self.flows.iter().filter(|it| is_own(it));
        let flows: Vec<_> = flows.map(|it| (it.at, it.bytes)).collect();
        Summary {
            mountpoint: None,
            directories: Vec::new(),
            total: false,
            backup_count: all.count,
            backup_bytes: all.bytes,
            by_status: broken_down(stored, &Status::ALL.map(|it| it.1), |it| it.status),
            by_type: broken_down(stored, &BackupType::ALL.map(|it| it.1), |it| it.backup_type),
            by_both: broken_down(stored, &pairs(), |it| (it.status, it.backup_type)),
            missing_count: stored.iter().filter(|it| is_missing(it)).count() as u64,
            expired_count: expired.count,
            expired_bytes: expired.bytes,
            largest: brief(whole.iter().max_by_key(|it| size(&it.backup))),
            oldest: brief(whole.first()),
            newest: brief(whole.last()),
            longest_unverified: brief(unverified),
            unverified_since: unverified.map(|it| proved_at(&it.backup)),
            size_bytes: None,
            free_bytes: None,
            reserve_bytes: None,
            growth_bytes_per_day: Growth::new(&flows, self.ledger_since, self.now),
            next_backup_bytes: next_backup(&whole),
            days_left: None,
            alerts: Vec::new(),
        }
    }

    /// Whether `bk-ls --expired | bk-rm` would remove it.
    fn is_expired(&self, backup: &Backup) -> bool {
        !backup.protected && backup.expires_at.is_some_and(|at| at <= self.now)
    }
}

fn pairs() -> Vec<(Status, BackupType)> {
    let types = BackupType::ALL.map(|it| it.1);
    let with = |status| types.map(|backup_type| (status, backup_type));
    Status::ALL.iter().flat_map(|it| with(it.1)).collect()
}

/// Every key has its tally, though of nothing.
fn broken_down<K: Ord + Copy>(
    stored: &[&Stored],
    keys: &[K],
    key: impl Fn(&Backup) -> K,
) -> BTreeMap<K, Tally> {
    let mut tallies: BTreeMap<_, _> = keys.iter().map(|key| (*key, Tally::default())).collect();
    for it in stored {
        tallies.entry(key(&it.backup)).or_default().add(it.bytes);
    }
    tallies
}

fn tally<'a>(stored: impl Iterator<Item = &'a &'a Stored>) -> Tally {
    let mut tally = Tally::default();
    stored.for_each(|it| tally.add(it.bytes));
    tally
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

fn size(backup: &Backup) -> u64 {
    let size = backup.backup_size.unwrap_or_default();
    u64::try_from(size).unwrap_or_default()
}

fn brief(stored: Option<&&Stored>) -> Option<Brief> {
    let backup = &stored?.backup;
    Some(Brief {
        id: backup.id,
        backup_name: backup.backup_name.clone(),
        backup_size: size(backup),
        created_at: backup.created_at,
    })
}

/// When it was last proved whole, or else was made.
fn proved_at(backup: &Backup) -> Timestamp {
    let last = LastVerified::of(backup).filter(|last| last.ok);
    last.map_or(backup.created_at, |last| last.at)
}

/// Of the sources of the newest one.
fn next_backup(whole: &[&Stored]) -> Option<u64> {
    let sources = |it: &Stored| it.backup.backup_metadata.get("sources").cloned();
    let newest = sources(whole.last()?);
    let same = whole.iter().rev().filter(|it| sources(it) == newest);
    growth::next_backup(same.map(|it| size(&it.backup)))
}

impl Summary {
    /// What people call it by: where it is mounted, or the directory that cannot be reached.
    pub(crate) fn label(&self) -> &str {
        let first = self.directories.first().filter(|_| !self.total);
        let label = self.mountpoint.as_ref().or(first);
        label.map_or("total", String::as_str)
    }
}
