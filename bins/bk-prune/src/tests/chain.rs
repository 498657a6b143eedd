//! Why each rule does not keep what is removed.

use super::store::{Stored, at, decide_on, policy};
use crate::caps::FreeBytes;

const NOW: &str = "2026-11-24T12:00:00Z";

/// `ID: RULES` of each that has any.
fn rules(all: &[Stored], flags: &str) -> Vec<String> {
    let policy = policy(flags);
    let verdict = decide_on(all, &policy, &FreeBytes::new(), NOW.parse().unwrap());
    let told = all
        .iter()
        .zip(verdict.decisions)
        .filter_map(|(it, decision)| {
            let rules = decision.rules(&it.backup, &policy);
            (!rules.is_empty()).then(|| format!("{}: {}", it.backup.id, rules.join("; ")))
        });
    told.collect()
}

#[test]
fn each_rule_tells_why_it_does_not_keep_what_is_removed() {
    let all = at(&[
        "2026-10-01T12:00",
        "2026-11-08T12:00",
        // The same day in UTC, two in Berlin.
        "2026-11-20T22:30",
        "2026-11-20T23:30",
        "2026-11-21T12:00",
        "2026-11-23T12:00",
    ]);
    for (flags, expected) in [
        (
            "--keep-last 2 --keep-daily 3",
            &[
                "1: keep-last 2: number 6 of 6; keep-daily 3: 2026-10-01 is before the last 3",
                "2: keep-last 2: number 5 of 6; keep-daily 3: 2026-11-08 is before the last 3",
                "4: keep-last 2: number 3 of 6; keep-daily 3: not the newest of 2026-11-21",
            ][..],
        ),
        (
            "--keep-weekly all",
            &[
                "3: keep-weekly all: not the newest of 2026-W47",
                "4: keep-weekly all: not the newest of 2026-W47",
            ],
        ),
        (
            "--keep-within 2d --keep-within-weekly 20d",
            &[
                "1: keep-within 2d: not after 2026-11-21 13:00; keep-within-weekly 20d: not after 2026-11-03 13:00",
                "3: keep-within 2d: not after 2026-11-21 13:00; keep-within-weekly 20d: not the newest of 2026-W47",
                "4: keep-within 2d: not after 2026-11-21 13:00; keep-within-weekly 20d: not the newest of 2026-W47",
            ],
        ),
        (
            "--older-than 30d",
            &["1: older-than 30d: before 2026-10-25 13:00"],
        ),
        // A limit comes after the rules.
        (
            "--keep-daily 2 --keep-weekly 2 --max-count 1",
            &[
                "1: keep-daily 2: 2026-10-01 is before the last 2; keep-weekly 2: 2026-W40 is before the last 2",
                "2: keep-daily 2: 2026-11-08 is before the last 2; keep-weekly 2: 2026-W45 is before the last 2",
                "3: keep-daily 2: 2026-11-20 is before the last 2; keep-weekly 2: not the newest of 2026-W47",
                "4: keep-daily 2: not the newest of 2026-11-21; keep-weekly 2: not the newest of 2026-W47",
                "5: would keep daily 2026-11-21; would keep weekly 2026-W47",
            ],
        ),
        // No rule was asked.
        ("--max-count 5", &[]),
    ] {
        assert_eq!(rules(&all, flags), expected, "{flags}");
    }
    let mut all = all;
    all[1].backup.expires_at = Some("2026-11-20T00:00:00Z".parse().unwrap());
    let of_others = [
        "1: keep-last 3: number 5 of 5",
        "3: keep-last 3: number 4 of 5",
    ];
    assert_eq!(rules(&all, "--keep-last 3"), of_others);
}
