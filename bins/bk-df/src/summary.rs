//! The summary of each file system and of all: a pure function of the catalog's data and of what
//! is on the disks.
//!
//! Knows no SQL, no clock and no files. The keys are a contract: they only grow.

use std::collections::BTreeMap;

use bk_schema::copy::BackupCopy;
use bk_schema::host::Host;
use bk_schema::record::{Backup, BackupType, Status};
use bk_schema::verified::LastVerified;
use bk_schema::{clock, losses};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::disks::{FileSystem, Stored, has_archive};
use crate::growth::{self, Growth};
use crate::threshold::Alert;

/// The input.
pub(crate) struct Facts<'a> {
    pub(crate) file_systems: &'a [FileSystem],
    /// Oldest first.
    pub(crate) stored: &'a [Stored],
    pub(crate) flows: &'a [Flow],
    pub(crate) ledger_since: Option<Timestamp>,
    /// Space to leave free on each; `None` for the default.
    pub(crate) reserve_bytes: Option<u64>,
    /// The host of this home.
    pub(crate) here: &'a Host,
    pub(crate) now: Timestamp,
}

/// Bytes that were added or removed at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) at: Timestamp,
    pub(crate) bytes: i64,
    /// The index of the file system, if it is one of those found.
    pub(crate) place: Option<usize>,
}

/// A number of backups and their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

/// The main fields of a backup.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Brief {
    pub(crate) id: i64,
    pub(crate) backup_name: String,
    pub(crate) backup_size: u64,
    pub(crate) created_at: Timestamp,
}

/// One line of output; bk-record(5) describes the keys.
#[derive(Debug, Clone, Default, Serialize)]
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
    pub(crate) offline_count: u64,
    pub(crate) remote_count: u64,
    pub(crate) future_count: u64,
    pub(crate) problem_count: u64,
    pub(crate) expired_count: u64,
    pub(crate) expired_bytes: u64,
    pub(crate) uncopied_count: u64,
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

/// One summary per file system, sorted by mount point, then the total.
pub(crate) fn summaries(facts: &Facts<'_>) -> Vec<Summary> {
    let count = facts.file_systems.len();
    let mut by_place: Vec<Vec<&Stored>> = vec![Vec::new(); count];
    for stored in facts.stored {
        by_place[stored.place].push(stored);
    }
    let of_one = |(place, stored): (usize, Vec<&Stored>)| facts.file_system(place, &stored);
    let mut all: Vec<_> = by_place.into_iter().enumerate().map(of_one).collect();
    // Unreachable ones come last.
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
        if let Ok(Some(space)) = file_system.space {
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

    /// The sums of what is known; the days until the first one is full.
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

    /// Everything that follows from the records and the ledger.
    fn backups(&self, stored: &[&Stored], is_own: impl Fn(&Flow) -> bool) -> Summary {
        let is_remote = |it: &Stored| it.backup.status == Status::Completed && it.is_remote;
        let is_missing = |it: &Stored| {
            it.backup.status == Status::Completed && !it.is_there && !it.is_offline && !it.is_remote
        };
        let is_offline = |it: &Stored| has_archive(&it.backup) && it.is_offline;
        let count =
            |is_one: &dyn Fn(&Stored) -> bool| stored.iter().filter(|it| is_one(it)).count() as u64;
        let expired = tally(stored.iter().filter(|it| self.is_expired(&it.backup)));
        let all = tally(stored.iter());
        // An archive that is being moved is complete, wherever it is now.
        let is_whole = |it: &&&Stored| {
            has_archive(&it.backup) && (it.is_there || it.backup.status == Status::Moving)
        };
        let whole: Vec<&Stored> = stored.iter().filter(is_whole).copied().collect();
        let is_of_future = |it: &Stored| clock::is_in_future(it.backup.created_at, self.now);
        let past: Vec<&Stored> = whole
            .iter()
            .filter(|it| !is_of_future(it))
            .copied()
            .collect();
        // For one from the future the time since its verification is unknown.
        let unverified = whole.iter().copied();
        let unverified = unverified
            .filter_map(|it| Some((it, verified_at(&it.backup, self.now)?)))
            .min_by_key(|it| it.1);
        let flows = self.flows.iter().filter(|it| is_own(it));
        let flows: Vec<_> = flows.map(|it| (it.at, it.bytes)).collect();
        Summary {
            backup_count: all.count,
            backup_bytes: all.bytes,
            by_status: broken_down(stored, &Status::ALL.map(|it| it.1), |it| it.status),
            by_type: broken_down(stored, &BackupType::ALL.map(|it| it.1), |it| it.backup_type),
            by_both: broken_down(stored, &pairs(), |it| (it.status, it.backup_type)),
            missing_count: count(&is_missing),
            offline_count: count(&is_offline),
            remote_count: count(&is_remote),
            future_count: count(&|it| it.backup.status == Status::Completed && is_of_future(it)),
            problem_count: self.problems(stored),
            expired_count: expired.count,
            expired_bytes: expired.bytes,
            uncopied_count: count(&|it| is_uncopied(&it.backup)),
            largest: brief(whole.iter().max_by_key(|it| size(&it.backup))),
            oldest: brief(whole.first()),
            newest: brief(past.last()),
            longest_unverified: brief(unverified.as_ref().map(|it| &it.0)),
            unverified_since: unverified.map(|it| it.1),
            growth_bytes_per_day: Growth::new(&flows, self.ledger_since, self.now),
            next_backup_bytes: self.next_backup(&past),
            ..Summary::default()
        }
    }

    /// Source paths that are missing or wrong in the newest backup of each host and set of sources.
    fn problems(&self, stored: &[&Stored]) -> u64 {
        let mut newest = BTreeMap::new();
        for it in stored.iter().filter(|it| has_archive(&it.backup)) {
            if !clock::is_in_future(it.backup.created_at, self.now) {
                newest.insert(format!("{:?}", self.origin(&it.backup)), &it.backup);
            }
        }
        newest.values().map(|it| losses::count(it)).sum()
    }

    /// Sources and host.
    fn origin<'b>(&'b self, backup: &'b Backup) -> (Option<&'b Value>, Option<&'b str>) {
        let sources = backup.backup_metadata.get("sources");
        (sources, self.here.of(backup))
    }

    /// The predicted size of the next backup of the newest one's sources.
    fn next_backup(&self, whole: &[&Stored]) -> Option<u64> {
        let newest = self.origin(&whole.last()?.backup);
        let is_same = |it: &&&Stored| self.origin(&it.backup) == newest;
        let same = whole.iter().rev().filter(is_same);
        growth::next_backup(same.map(|it| size(&it.backup)))
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

/// Completed, without a complete copy anywhere.
fn is_uncopied(backup: &Backup) -> bool {
    backup.status == Status::Completed && !backup.copies.iter().any(BackupCopy::is_complete)
}

/// Tallies by key; every key has one, be it zero.
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
    backup.backup_size.unwrap_or_default()
}

fn brief(stored: Option<&&Stored>) -> Option<Brief> {
    Some(Brief::of(&stored?.backup))
}

impl Brief {
    pub(crate) fn of(backup: &Backup) -> Self {
        Self {
            id: backup.id,
            backup_name: backup.backup_name.clone(),
            backup_size: size(backup),
            created_at: backup.created_at,
        }
    }
}

/// When it was last verified, else made; `None` if that is not known.
fn verified_at(backup: &Backup, now: Timestamp) -> Option<Timestamp> {
    let made = Some(backup.created_at).filter(|made| !clock::is_in_future(*made, now));
    LastVerified::verified_at(backup, now).or(made)
}

impl Summary {
    /// Its name: the mount point, or the directory that cannot be accessed.
    pub(crate) fn label(&self) -> &str {
        let first = self.directories.first().filter(|_| !self.total);
        let label = self.mountpoint.as_ref().or(first);
        label.map_or("total", String::as_str)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bk_store::archives::space::Space;
    use proptest::prelude::*;
    use serde_json::json;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    fn stored(id: i64, status: Status, place: usize, bytes: u64) -> Stored {
        let backup = serde_json::from_value(json!({
            "id": id, "backup_name": format!("b{id}"), "backup_type": "manual", "status": status,
            "source_version": null, "backup_path": format!("/b/{id}"), "backup_size": bytes,
            "file_count": 1, "compression_type": "gzip", "backup_hash": null, "description": null,
            "backup_metadata": {"sources": ["/srv"]}, "protected": false, "created_at": at(id),
            "expires_at": null
        }));
        Stored {
            backup: backup.unwrap(),
            place,
            bytes,
            is_there: true,
            is_offline: false,
            is_remote: false,
        }
    }

    fn of(stored: &[Stored], flows: &[Flow]) -> Vec<Summary> {
        let disk = |mountpoint: &str, space| FileSystem {
            mountpoint: Some(mountpoint.to_owned()).filter(|_| space != Err(String::new())),
            directories: vec![format!("{mountpoint}/bk")],
            space,
        };
        let space = |available_bytes| {
            Ok(Some(Space {
                total_bytes: 2000,
                available_bytes,
            }))
        };
        summaries(&Facts {
            file_systems: &[
                disk("/z", space(1500)),
                disk("/gone", Err(String::new())),
                disk("/a", space(700)),
            ],
            stored,
            flows,
            ledger_since: Some(at(-40 * DAY)),
            reserve_bytes: None,
            here: &Host::default(),
            now: at(0),
        })
    }

    /// Status, type, file system, bytes; whether it is there, protected, expired.
    type Drawn = (usize, usize, usize, u64, [bool; 3]);

    fn any_stored() -> impl Strategy<Value = Vec<Stored>> {
        let one = (
            0..5_usize,
            0..3_usize,
            0..3_usize,
            0..1_u64 << 40,
            any::<[bool; 3]>(),
        );
        proptest::collection::vec(one, 0..40).prop_map(|all| {
            let build = |(id, (status, kind, place, bytes, flags)): (i64, Drawn)| {
                let [there, protected, expired] = flags;
                let mut it = stored(id, Status::ALL[status].1, place, bytes);
                it.backup.backup_type = BackupType::ALL[kind].1;
                it.backup.protected = protected;
                it.backup.expires_at = expired.then(|| at(0));
                it.is_there = there && place != 1;
                it.bytes = if it.is_there { bytes } else { 0 };
                it
            };
            (1..).zip(all).map(build).collect()
        })
    }

    fn sum<'a>(tallies: impl Iterator<Item = &'a Tally>) -> (u64, u64) {
        tallies.fold((0, 0), |sum, it| (sum.0 + it.count, sum.1 + it.bytes))
    }

    proptest! {
        #[test]
        fn every_breakdown_sums_to_the_total(stored in any_stored()) {
            let all = of(&stored, &[]);
            prop_assert_eq!(all.len(), 4);
            for it in &all {
                let total = (it.backup_count, it.backup_bytes);
                prop_assert_eq!(sum(it.by_status.values()), total);
                prop_assert_eq!(sum(it.by_type.values()), total);
                prop_assert_eq!(sum(it.by_both.values()), total);
                prop_assert!(it.expired_bytes <= it.backup_bytes);
                prop_assert!(it.missing_count <= it.by_status[&Status::Completed].count);
                let ages = [&it.oldest, &it.newest].map(|it| it.as_ref().map(|it| it.created_at));
                prop_assert!(ages[0] <= ages[1]);
            }
            let (total, each) = all.split_last().unwrap();
            prop_assert_eq!(total.backup_count, stored.len() as u64);
            for part in [
                |it: &Summary| it.backup_count,
                |it: &Summary| it.backup_bytes,
                |it: &Summary| it.missing_count,
                |it: &Summary| it.offline_count,
                |it: &Summary| it.expired_count,
                |it: &Summary| it.expired_bytes,
                |it: &Summary| it.uncopied_count,
            ] {
                prop_assert_eq!(each.iter().map(part).sum::<u64>(), part(total));
            }
        }
    }

    #[test]
    fn file_systems_come_in_order_and_what_cannot_be_reached_last() {
        let all = of(&[stored(1, Status::Completed, 1, 5)], &[]);
        let labels: Vec<_> = all.iter().map(Summary::label).collect();
        assert_eq!(labels, ["/a", "/z", "/gone/bk", "total"]);
        let sizes: Vec<_> = all
            .iter()
            .map(|it| (it.size_bytes, it.free_bytes))
            .collect();
        let size = |free| (Some(2000), Some(free));
        assert_eq!(
            sizes,
            [
                size(700),
                size(1500),
                (None, None),
                (Some(4000), Some(2200))
            ]
        );
        assert_eq!(all[0].reserve_bytes, Some(100));
    }

    #[test]
    fn what_grows_is_told_of_its_own_file_system() {
        let flow = |days: i64, bytes, place| Flow {
            at: at(-days * DAY),
            bytes,
            place,
        };
        let flows = [
            flow(1, 300, Some(2)),
            flow(20, 600, Some(2)),
            flow(2, 3000, Some(0)),
            flow(3, 60, None),
            flow(31, 9999, Some(0)),
        ];
        let all = of(&[], &flows);
        let growth: Vec<_> = all.iter().map(|it| it.growth_bytes_per_day).collect();
        let months: Vec<_> = growth.iter().map(|it| it.month.unwrap()).collect();
        assert_eq!(months, [30, 100, 0, 132]);
        assert_eq!(growth[0].week, Some(300 / 7));
        assert_eq!(growth[0].quarter, None);
        let days: Vec<_> = all.iter().map(|it| it.days_left).collect();
        assert_eq!(days, [Some(20.0), Some(14.0), None, Some(14.0)]);
    }

    #[test]
    fn a_backup_on_its_way_is_whole_and_others_only_with_their_archive() {
        let mut all = vec![
            stored(1, Status::Completed, 0, 10),
            stored(2, Status::Completed, 0, 30),
            stored(3, Status::Moving, 0, 20),
            stored(4, Status::Completed, 0, 99),
            stored(5, Status::Failed, 0, 7),
        ];
        all[2].is_there = false;
        all[3].is_there = false;
        let told = &of(&all, &[])[3];
        let ids = [
            &told.oldest,
            &told.newest,
            &told.largest,
            &told.longest_unverified,
        ];
        assert_eq!(ids.map(|it| it.as_ref().unwrap().id), [1, 3, 2, 1]);
        assert_eq!((told.missing_count, told.next_backup_bytes), (1, Some(25)));
    }
}
