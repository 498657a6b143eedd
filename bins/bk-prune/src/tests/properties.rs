//! What holds of every store and every policy.

use std::collections::{BTreeMap, BTreeSet};

use bk_schema::clock;
use bk_schema::metadata::SHRUNK;
use bk_schema::record::{BackupType, Status};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::store::{DISK, Stored, decide_on, policy, stored};
use crate::caps::FreeBytes;
use crate::group;
use crate::policy::Policy;
use crate::retention::{Action, Archive};

fn now() -> Timestamp {
    "2026-03-29T12:00:00Z".parse().unwrap()
}

/// Around the change to summer time, some to come, some at the same time.
fn any_store() -> impl Strategy<Value = Vec<Stored>> {
    let one = (
        // Half an hour each, or days.
        prop_oneof![-200..20_i64, (-100..3_i64).prop_map(|day| day * 48)],
        0..10_u8,
        prop_oneof![4 => Just(None), 1 => (-500..500_i64).prop_map(Some)],
        (any::<bool>(), 1..5_u64, 0..8_u8),
    );
    proptest::collection::vec(one, 0..40).prop_map(|all| {
        let build = |(id, (created, kind, expires, (is_automatic, size, place))): (
            i64,
            (_, _, Option<i64>, (_, u64, _)),
        )| {
            let half_hours = |n: i64| now() + SignedDuration::from_mins(n * 30);
            let mut it = stored(id, half_hours(created));
            it.backup.protected = kind == 0;
            if kind == 2 {
                let metadata = &mut it.backup.backup_metadata;
                metadata.insert(SHRUNK.into(), true.into());
            }
            it.backup.expires_at = expires.map(|it: i64| half_hours(it));
            it.backup.backup_size = Some(size * 100);
            if is_automatic {
                it.backup.backup_type = BackupType::Automatic;
            }
            let file_system = if place == 0 { DISK + 1 } else { DISK };
            let disk_bytes = size * 4096;
            it.archive = (place > 1).then_some(Archive {
                file_system,
                disk_bytes,
            });
            if kind == 1 {
                it.backup.status = Status::Failed;
                it.archive = None;
            }
            it
        };
        (1..).zip(all).map(build).collect()
    })
}

const PERIODS: [&str; 7] = [
    "last",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "quarterly",
    "yearly",
];

/// How strong each rule is, 0 for none.
#[derive(Debug, Clone)]
struct Strength {
    counts: [u8; 7],
    within_days: [u8; 7],
    older_days: u8,
}

impl Strength {
    fn flags(&self) -> String {
        let mut flags = String::new();
        for (name, count) in PERIODS.iter().zip(self.counts) {
            match count {
                0 => {}
                9 => flags += &format!("--keep-{name} all "),
                count => flags += &format!("--keep-{name} {count} "),
            }
        }
        for (name, days) in PERIODS
            .iter()
            .zip(self.within_days)
            .filter(|(_, it)| *it > 0)
        {
            match *name {
                "last" => flags += &format!("--keep-within {days}d "),
                name => flags += &format!("--keep-within-{name} {days}d "),
            }
        }
        if self.older_days > 0 {
            flags += &format!("--older-than {}d ", self.older_days);
        }
        flags
    }

    fn is_none(&self) -> bool {
        self.flags().is_empty()
    }
}

fn any_strength() -> impl Strategy<Value = Strength> {
    let few = || prop_oneof![3 => Just(0_u8), 1 => 1..10_u8];
    let all = (
        proptest::array::uniform7(few()),
        proptest::array::uniform7(few()),
        few(),
    );
    all.prop_map(|(counts, within_days, older_days)| Strength {
        counts,
        within_days,
        older_days,
    })
}

/// A policy with rules, limits, both or neither; and what is free.
fn any_policy() -> impl Strategy<Value = (Policy, FreeBytes)> {
    let groups = ["sources,type", "none", "version"];
    let cap = || prop_oneof![2 => Just(None), 1 => (1..20_u64).prop_map(Some)];
    let all = (
        any_strength(),
        cap(),
        cap(),
        cap(),
        0..3_usize,
        (any::<bool>(), 0..100_u64),
    );
    all.prop_map(
        move |(strength, count, size, free, group, (allow_empty, free_blocks))| {
            let mut policy = policy(&format!(
                "--expired {} --group-by {}",
                strength.flags(),
                groups[group]
            ));
            policy.allow_empty = allow_empty;
            policy.caps.count = count.and_then(|it| usize::try_from(it).ok());
            policy.caps.total_bytes = size.map(|it| it * 150);
            policy.caps.free_bytes = free.map(|it| it * 10_000);
            let free = match free {
                Some(_) => BTreeMap::from([(DISK, free_blocks * 1000), (DISK + 1, 50_000)]),
                None => BTreeMap::new(),
            };
            (policy, free)
        },
    )
}

fn removed(all: &[Stored], policy: &Policy, free: &FreeBytes) -> BTreeSet<i64> {
    let decisions = decide_on(all, policy, free, now()).decisions;
    let removed = all
        .iter()
        .zip(decisions)
        .filter(|(_, it)| it.action == Action::Remove);
    removed.map(|(it, _)| it.backup.id).collect()
}

fn without(all: &[Stored], gone: &BTreeSet<i64>) -> Vec<Stored> {
    all.iter()
        .filter(|it| !gone.contains(&it.backup.id))
        .cloned()
        .collect()
}

/// What is free when those are gone.
fn freed(all: &[Stored], gone: &BTreeSet<i64>, free: &FreeBytes) -> FreeBytes {
    let mut free = free.clone();
    for archive in all
        .iter()
        .filter(|it| gone.contains(&it.backup.id))
        .filter_map(|it| it.archive)
    {
        free.entry(archive.file_system)
            .and_modify(|it| *it += archive.disk_bytes);
    }
    free
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_order_of_the_candidates_does_not_matter(
        (all, mixed) in any_store().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        (policy, free) in any_policy(),
    ) {
        let by_id = |some: &[Stored]| -> BTreeMap<i64, _> {
            let decisions = decide_on(some, &policy, &free, now()).decisions;
            some.iter().map(|it| it.backup.id).zip(decisions).collect()
        };
        prop_assert_eq!(by_id(&all), by_id(&mixed));
    }

    #[test]
    fn a_stronger_policy_keeps_a_superset(
        all in any_store(), weak in any_strength(), more in any_strength(), allow_empty in any::<bool>(),
    ) {
        prop_assume!(!weak.is_none());
        let add = |a: [u8; 7], b: [u8; 7]| std::array::from_fn(|at| (a[at] + b[at]).min(9));
        let strong = Strength {
            counts: add(weak.counts, more.counts),
            within_days: add(weak.within_days, more.within_days),
            older_days: weak.older_days + more.older_days,
        };
        let removed = |strength: &Strength| {
            let mut policy = policy(&strength.flags());
            policy.allow_empty = allow_empty;
            removed(&all, &policy, &FreeBytes::new())
        };
        let (by_weak, by_strong) = (removed(&weak), removed(&strong));
        prop_assert!(by_strong.is_subset(&by_weak), "{by_strong:?} {by_weak:?}");
    }

    #[test]
    fn a_wider_limit_keeps_a_superset(all in any_store(), (policy, free) in any_policy(), more in 1..500_u64) {
        let mut wider = policy.clone();
        wider.caps.count = wider.caps.count.map(|it| it + more as usize);
        wider.caps.total_bytes = wider.caps.total_bytes.map(|it| it + more);
        wider.caps.free_bytes = wider.caps.free_bytes.map(|it| it.saturating_sub(more * 10));
        let (narrow, wide) = (removed(&all, &policy, &free), removed(&all, &wider, &free));
        prop_assert!(wide.is_subset(&narrow), "{wide:?} {narrow:?}");
    }

    #[test]
    fn what_is_left_is_left_the_second_time(all in any_store(), (policy, free) in any_policy()) {
        let gone = removed(&all, &policy, &free);
        let again = removed(&without(&all, &gone), &policy, &freed(&all, &gone, &free));
        prop_assert!(again.is_empty(), "{gone:?} {again:?}");
    }

    #[test]
    fn what_is_protected_or_newest_or_still_has_time_is_never_removed(
        all in any_store(), (mut policy, free) in any_policy(),
    ) {
        policy.allow_empty = false;
        let gone = removed(&all, &policy, &free);
        let is_there = |it: &&Stored| {
            let is_in_future = clock::is_in_future(it.backup.created_at, now());
            it.backup.status == Status::Completed && it.archive.is_some() && !is_in_future
        };
        let mut newest = BTreeMap::new();
        for it in all.iter().filter(is_there) {
            let group = group::id_of(&it.backup, &policy.group_by, &policy.here);
            let best = newest.entry(group).or_insert((it.backup.created_at, it.backup.id));
            *best = (*best).max((it.backup.created_at, it.backup.id));
        }
        for (_, id) in newest.values() {
            prop_assert!(!gone.contains(id), "{id} is the newest");
        }
        for Stored { backup, .. } in &all {
            let has_time = backup.expires_at.is_some_and(|it| it > now());
            let stays = backup.protected || (has_time && backup.status == Status::Completed);
            prop_assert!(!(stays && gone.contains(&backup.id)), "{backup:?}");
        }
    }

    #[test]
    fn a_limit_is_kept_or_told_and_takes_not_one_more(
        all in any_store(), (mut policy, free) in any_policy(),
    ) {
        policy.caps.free_bytes = None;
        // A missing archive is no weight, nor is one of unknown age.
        let weighs = |it: &Stored| {
            it.archive.is_some() && !clock::is_in_future(it.backup.created_at, now())
        };
        let all: Vec<_> = all.into_iter().filter(weighs).collect();
        let verdict = decide_on(&all, &policy, &free, now());
        let kept = |actions: &[Action]| -> Vec<_> {
            let kept = all.iter().zip(actions).filter(|(_, it)| **it == Action::Keep);
            kept.map(|(it, _)| it.clone()).collect()
        };
        let fits = |kept: &[Stored]| {
            let sizes = kept.iter().filter_map(|it| it.backup.backup_size);
            let size: u64 = sizes.sum();
            policy.caps.count.is_none_or(|most| kept.len() <= most)
                && policy.caps.total_bytes.is_none_or(|most| size <= most)
        };
        let mut actions: Vec<_> = verdict.decisions.iter().map(|it| it.action).collect();
        let is_told = !verdict.unmet.is_empty();
        prop_assert_eq!(fits(&kept(&actions)), !is_told);
        // The youngest of those that a limit removed would not fit.
        let capped = verdict.decisions.iter().map(|it| it.reasons[0].starts_with("max-"));
        let capped: Vec<_> = all.iter().zip(capped).enumerate().filter(|(_, (_, is))| *is).collect();
        let youngest = capped.iter().max_by_key(|(_, (it, _))| (it.backup.created_at, it.backup.id));
        if let Some((at, _)) = youngest {
            actions[*at] = Action::Keep;
            prop_assert!(!fits(&kept(&actions)));
        }
    }

    #[test]
    fn what_is_from_the_future_changes_nothing(all in any_store(), (mut policy, mut free) in any_policy()) {
        // What is free is what it is.
        policy.caps.free_bytes = None;
        free.clear();
        let is_past = |it: &Stored| !clock::is_in_future(it.backup.created_at, now());
        let past: Vec<_> = all.iter().filter(|it| is_past(it)).cloned().collect();
        let gone = removed(&all, &policy, &free);
        let of_past: BTreeSet<_> = past.iter().map(|it| it.backup.id).filter(|id| gone.contains(id)).collect();
        prop_assert_eq!(of_past, removed(&past, &policy, &free));
        for it in all.iter().filter(|it| !is_past(it) && gone.contains(&it.backup.id)) {
            prop_assert!(it.backup.expires_at.is_some_and(|time| time <= now()));
        }
    }

    #[test]
    fn every_decision_has_a_reason(all in any_store(), (policy, free) in any_policy()) {
        let decisions = decide_on(&all, &policy, &free, now()).decisions;
        prop_assert_eq!(decisions.len(), all.len());
        prop_assert!(decisions.iter().all(|it| !it.reasons.is_empty()));
        for (it, decision) in all.iter().zip(&decisions) {
            let told = decision.rules(&it.backup, &policy);
            let is_asked = it.backup.status == Status::Completed && it.backup.expires_at.is_none();
            if decision.action == Action::Keep || !is_asked || policy.rules.is_empty() {
                prop_assert!(told.is_empty());
            } else {
                let is_limited = told.iter().all(|it| it.starts_with("would keep "));
                prop_assert!(!told.is_empty() && (is_limited || told.len() == policy.rules.len()));
            }
        }
    }
}
