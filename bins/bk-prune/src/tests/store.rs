//! Backups and policies for tests, and decisions as text.

use std::ffi::OsString;

use bk_schema::record::Backup;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::caps::FreeBytes;
use crate::flags::PROGRAM;
use crate::policy::Policy;
use crate::retention::{Action, Archive, Candidate, Verdict, decide};

/// The file system of all archives but those that say otherwise.
pub(super) const DISK: u64 = 1;

/// A backup, and its archive if it has one.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) backup: Backup,
    pub(super) archive: Option<Archive>,
}

/// A completed backup of 100 bytes.
pub(super) fn stored(id: i64, created: Timestamp) -> Stored {
    let backup = serde_json::from_value(json!({
        "id": id, "backup_name": format!("b{id}"), "backup_type": "manual", "status": "completed",
        "source_version": null, "backup_path": format!("/b/{id}"), "backup_size": 100,
        "file_count": 1, "compression_type": "gzip", "backup_hash": null, "description": null,
        "backup_metadata": {"sources": ["/srv"]}, "protected": false, "created_at": created,
        "expires_at": null
    }));
    Stored {
        backup: backup.unwrap(),
        archive: Some(Archive {
            file_system: DISK,
            disk_bytes: 100,
        }),
    }
}

/// Backups with the ids 1, 2, ... of these times, each in UTC unless it says otherwise.
pub(super) fn at(times: &[&str]) -> Vec<Stored> {
    let time = |text: &&str| {
        let utc = if text.len() == 16 {
            format!("{text}Z")
        } else {
            (*text).to_owned()
        };
        utc.parse().unwrap()
    };
    let stored = |(id, time)| stored(id, time);
    (1..).zip(times.iter().map(time)).map(stored).collect()
}

/// The policy of these flags, in Berlin's zone as it is since 1996, without a time zone database.
pub(super) fn policy(flags: &str) -> Policy {
    let arguments = PROGRAM.parse(flags.split_whitespace().map(OsString::from));
    let mut policy = Policy::new(&arguments.unwrap()).unwrap();
    policy.zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    policy
}

pub(super) fn decide_on(
    all: &[Stored],
    policy: &Policy,
    free: &FreeBytes,
    now: Timestamp,
) -> Verdict {
    let candidate = |it: &'_ Stored| it.archive;
    let all: Vec<_> = all
        .iter()
        .map(|it| Candidate {
            backup: &it.backup,
            archive: candidate(it),
        })
        .collect();
    decide(&all, policy, free, now)
}

/// `ID keep|remove REASONS` for each.
pub(super) fn told(all: &[Stored], flags: &str, now: &str) -> Vec<String> {
    let verdict = decide_on(all, &policy(flags), &FreeBytes::new(), now.parse().unwrap());
    let told = all.iter().zip(verdict.decisions).map(|(it, decision)| {
        let word = if decision.action == Action::Keep {
            "keep"
        } else {
            "remove"
        };
        format!("{} {word} {}", it.backup.id, decision.reasons.join(", "))
    });
    told.collect()
}

/// The ids of those that are kept.
pub(super) fn kept(all: &[Stored], flags: &str, now: &str) -> Vec<i64> {
    let told = told(all, flags, now);
    let kept = all.iter().zip(told).filter(|(_, it)| it.contains(" keep "));
    kept.map(|(it, _)| it.backup.id).collect()
}
