//! What comes before the rules, groups, limits and missing archives.

use std::collections::BTreeMap;

use bk_schema::record::{BackupType, Status};

use super::store::{DISK, Stored, at, decide_on, kept, policy, told};
use crate::caps::FreeBytes;
use crate::retention::{Action, Archive};

const NOW: &str = "2026-11-24T12:00:00Z";

/// Six backups, a day apart, the newest a day ago.
fn six() -> Vec<Stored> {
    at(&[
        "2026-11-18T12:00",
        "2026-11-19T12:00",
        "2026-11-20T12:00",
        "2026-11-21T12:00",
        "2026-11-22T12:00",
        "2026-11-23T12:00",
    ])
}

fn expires(stored: &mut Stored, time: &str) {
    stored.backup.expires_at = Some(time.parse().unwrap());
}

#[test]
fn protection_comes_before_expiry_and_expiry_before_the_rules() {
    let mut all = six();
    all[0].backup.protected = true;
    expires(&mut all[0], "2026-11-20T00:00:00Z");
    expires(&mut all[1], "2026-11-25T00:00:00Z");
    expires(&mut all[3], NOW);
    all[5].backup.protected = true;
    let expected = [
        "1 keep protected",
        "2 keep expires 2026-11-25 01:00",
        "3 remove kept by no rule",
        "4 remove expired 2026-11-24 13:00",
        "5 keep last 2",
        "6 keep protected, last 1, newest in group",
    ];
    assert_eq!(told(&all, "--keep-last 2", NOW), expected);
    let expired = [
        "1 keep protected",
        "2 keep expires 2026-11-25 01:00",
        "3 keep no expiry",
        "4 remove expired 2026-11-24 13:00",
        "5 keep no expiry",
        "6 keep protected, newest in group",
    ];
    assert_eq!(told(&all, "--expired", NOW), expired);
}

#[test]
fn what_has_an_expiry_stands_in_for_nothing_else() {
    let mut all = at(&[
        "2026-11-20T03:00",
        "2026-11-21T03:00",
        "2026-11-21T04:00",
        "2026-11-22T03:00",
    ]);
    expires(&mut all[2], "2026-11-25T00:00:00Z");
    assert_eq!(kept(&all, "--keep-daily 2", NOW), [2, 3, 4]);
}

#[test]
fn the_newest_of_a_group_stays_even_when_it_is_expired() {
    let mut all = six();
    all.iter_mut()
        .for_each(|it| expires(it, "2026-11-23T13:00:00Z"));
    assert_eq!(kept(&all, "--expired", NOW), [6]);
    assert_eq!(told(&all, "--expired", NOW)[5], "6 keep newest in group");
    assert!(kept(&all, "--expired --allow-empty", NOW).is_empty());
    all[2].backup.backup_type = BackupType::PreUpgrade;
    assert_eq!(kept(&all, "--expired", NOW), [3, 6]);
    assert_eq!(kept(&all, "--expired --group-by none", NOW), [6]);
    let old = "--older-than 1h --allow-empty";
    assert!(kept(&six(), old, NOW).is_empty());
}

#[test]
fn failed_ones_go_when_they_are_old_and_stand_in_for_nothing() {
    let mut all = six();
    for at in [0, 4, 5] {
        all[at].backup.status = Status::Failed;
        all[at].archive = None;
    }
    expires(&mut all[4], "2026-11-23T00:00:00Z");
    let expected = [
        "1 remove failed, older than 4d",
        "2 remove kept by no rule",
        "3 remove kept by no rule",
        "4 keep last 1, newest in group",
        "5 keep failed, not older than 4d",
        "6 keep failed, not older than 4d",
    ];
    assert_eq!(told(&all, "--keep-last 1 --failed-after 4d", NOW), expected);
    assert_eq!(kept(&all, "--keep-last 1", NOW), [1, 4, 5, 6]);
    assert_eq!(kept(&all, "--expired --failed-after 0s", NOW), [2, 3, 4]);
    all[0].backup.protected = true;
    assert_eq!(
        told(&all, "--expired --failed-after 0s", NOW)[0],
        "1 keep protected"
    );
}

#[test]
fn rules_count_within_a_group() {
    let mut all = six();
    all[0].backup.backup_type = BackupType::Automatic;
    all[1].backup.backup_metadata["sources"] = serde_json::json!(["/srv", "/etc"]);
    all[2].backup.backup_metadata.shift_remove("sources");
    all[3].backup.source_version = Some("2.3.1".into());
    let flags = |keys: &str| format!("--keep-last 1 --group-by {keys}");
    assert_eq!(kept(&all, "--keep-last 1", NOW), [1, 2, 3, 6]);
    assert_eq!(kept(&all, &flags("sources"), NOW), [2, 3, 6]);
    assert_eq!(kept(&all, &flags("type"), NOW), [1, 6]);
    assert_eq!(kept(&all, &flags("version"), NOW), [4, 6]);
    assert_eq!(kept(&all, &flags("version,type"), NOW), [1, 4, 6]);
    assert_eq!(kept(&all, &flags("none"), NOW), [6]);
}

#[test]
fn limits_take_the_oldest_that_the_rules_keep_until_it_fits() {
    let mut all = six();
    all[0].backup.protected = true;
    expires(&mut all[1], "2027-01-01T00:00:00Z");
    assert_eq!(kept(&all, "--max-count 4", NOW), [1, 2, 5, 6]);
    assert_eq!(told(&all, "--max-count 4", NOW)[2], "3 remove max-count 4");
    assert_eq!(kept(&all, "--max-count 4 --keep-last 3", NOW), [1, 2, 5, 6]);
    // To the byte.
    assert_eq!(kept(&all, "--max-total-size 400", NOW), [1, 2, 5, 6]);
    assert_eq!(kept(&all, "--max-total-size 399", NOW), [1, 2, 6]);
    assert_eq!(kept(&all, "--max-total-size 600", NOW).len(), 6);
    all[2].backup.backup_size = Some(1000);
    assert_eq!(kept(&all, "--max-total-size 600", NOW), [1, 2, 4, 5, 6]);
}

#[test]
fn a_limit_that_cannot_be_kept_is_told() {
    let mut all = six();
    all[0].backup.protected = true;
    let unmet = |flags: &str| {
        let verdict = decide_on(
            &all,
            &policy(flags),
            &FreeBytes::new(),
            NOW.parse().unwrap(),
        );
        let kept = verdict
            .decisions
            .iter()
            .filter(|it| it.action == Action::Keep);
        (kept.count(), verdict.unmet)
    };
    assert_eq!(unmet("--max-count 2"), (2, vec![]));
    assert_eq!(unmet("--max-count 1"), (2, vec!["max-count 1".to_owned()]));
    let size = "--max-total-size 99";
    assert_eq!(unmet(size), (2, vec!["max-total-size 99 B".to_owned()]));
    assert_eq!(unmet("--max-count 1 --allow-empty"), (1, vec![]));
}

#[test]
fn space_is_made_on_the_file_system_that_has_too_little() {
    let mut all = six();
    for at in [0, 2] {
        all[at].archive = Some(Archive {
            file_system: DISK + 1,
            disk_bytes: 100,
        });
    }
    let kept = |free_bytes: &[(u64, u64)], flags: &str| -> Vec<usize> {
        let free = BTreeMap::from_iter(free_bytes.iter().copied());
        let verdict = decide_on(&all, &policy(flags), &free, NOW.parse().unwrap());
        let kept = verdict.decisions.iter().enumerate();
        let kept = kept.filter(|(_, it)| it.action == Action::Keep);
        kept.map(|(at, _)| at + 1).collect()
    };
    let flags = "--keep-free 1000";
    assert_eq!(
        kept(&[(DISK, 1000), (DISK + 1, 1000)], flags),
        [1, 2, 3, 4, 5, 6]
    );
    assert_eq!(kept(&[(DISK, 801), (DISK + 1, 1000)], flags), [1, 3, 5, 6]);
    assert_eq!(kept(&[(DISK, 800), (DISK + 1, 999)], flags), [3, 5, 6]);
    // What the rules remove counts.
    assert_eq!(
        kept(
            &[(DISK, 700), (DISK + 1, 900)],
            "--keep-free 1000 --keep-last 4"
        ),
        [3, 6]
    );
}

#[test]
fn while_the_newest_shrank_neither_rules_nor_limits_remove_of_its_group() {
    let shrink = |it: &mut Stored| {
        let held = serde_json::json!({"backup_name": "b4", "content_bytes": 4000});
        it.backup.backup_metadata.insert("shrunk".into(), held);
    };
    let mut all = six();
    shrink(&mut all[4]);
    // It has its size again.
    assert_eq!(kept(&all, "--keep-last 1", NOW), [6]);
    shrink(&mut all[5]);
    expires(&mut all[1], "2026-11-20T00:00:00Z");
    let expected = [
        "1 keep newest shrank",
        "2 remove expired 2026-11-20 01:00",
        "3 keep newest shrank",
        "4 keep newest that lacks nothing",
        "5 keep newest shrank",
        "6 keep last 1, newest in group",
    ];
    assert_eq!(told(&all, "--keep-last 1", NOW), expected);
    for flags in [
        "--keep-last 1 --allow-empty",
        "--older-than 1h --allow-empty",
        "--keep-daily 1 --keep-within 1d --group-by none",
        "--max-count 1",
        "--max-total-size 1",
        "--keep-last 3 --max-count 1",
    ] {
        assert_eq!(kept(&all, flags, NOW), [1, 3, 4, 5, 6], "{flags}");
    }
    let shrunk = |all: &[Stored], flags: &str| {
        let (policy, free) = (policy(flags), FreeBytes::new());
        decide_on(all, &policy, &free, NOW.parse().unwrap()).shrunk
    };
    assert_eq!(shrunk(&all, "--keep-last 1"), ["b6"]);
    assert!(shrunk(&all, "--keep-last 6").is_empty());
    // Another group goes by the rules and makes the room.
    for at in [0, 2, 3] {
        all[at].backup.backup_type = BackupType::PreUpgrade;
    }
    assert_eq!(kept(&all, "--keep-last 1", NOW), [2, 4, 5, 6]);
    assert_eq!(kept(&all, "--max-count 4", NOW), [2, 4, 5, 6]);
    // One that is not there, or of unknown age, is not the newest.
    let mut all = six();
    shrink(&mut all[5]);
    for change in [
        |it: &mut Stored| it.archive = None,
        |it: &mut Stored| it.backup.created_at = "2026-11-25T00:00:00Z".parse().unwrap(),
    ] {
        let mut all = all.clone();
        change(&mut all[5]);
        assert_eq!(kept(&all, "--keep-last 1", NOW), [5, 6]);
    }
    // Nor one that goes.
    expires(&mut all[5], "2026-11-20T00:00:00Z");
    assert_eq!(kept(&all, "--keep-last 1 --allow-empty", NOW), [5]);
    assert_eq!(kept(&all, "--keep-last 1", NOW), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_missing_archive_takes_no_place_from_one_that_is_there() {
    let mut all = six();
    for at in [1, 4, 5] {
        all[at].archive = None;
    }
    // 3 and 4 are the newest two that are there; 5 and 6 would be.
    let expected = [
        "1 remove kept by no rule",
        "2 remove kept by no rule",
        "3 keep last 2",
        "4 keep last 1, newest in group",
        "5 keep last 2",
        "6 keep last 1, newest in group",
    ];
    assert_eq!(told(&all, "--keep-last 2", NOW), expected);
    assert_eq!(kept(&all, "--max-count 2", NOW), [2, 3, 4, 5, 6]);
    all.iter_mut()
        .for_each(|it| expires(it, "2026-11-23T13:00:00Z"));
    assert_eq!(kept(&all, "--expired", NOW), [4, 6]);
}
