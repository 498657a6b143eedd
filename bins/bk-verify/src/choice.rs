//! Which backups a round over the whole catalog takes: a pure function of records, flags and
//! `now`.
//!
//! Knows no catalog and no archive.

use anyhow::Result;
use bk_cli::{Arguments, UsageError, units};
use bk_schema::record::{Backup, Status};
use bk_schema::verified::LastVerified;
use jiff::Timestamp;

use crate::flags::{ALL, LIMIT, OLDER_THAN_CHECK};
use crate::verdict::Level;

/// A round over the catalog, in place of given backups.
#[derive(Debug, Default)]
pub(crate) struct Round {
    level: Level,
    /// Those last verified before it.
    before: Option<Timestamp>,
    limit: Option<usize>,
    now: Timestamp,
}

impl Round {
    /// `None` where the backups are given.
    pub(crate) fn new(arguments: &Arguments, level: Level, now: Timestamp) -> Result<Option<Self>> {
        let usage = |text: &str| Err(UsageError(text.into()).into());
        let before = arguments.parsed(&OLDER_THAN_CHECK, |text| units::parse_past(text, now))?;
        let limit = arguments.parsed(&LIMIT, units::parse_count)?;
        let chooses = arguments.one_of(&[(ALL, ()), (OLDER_THAN_CHECK, ())])?;
        if chooses.is_none() {
            return match limit {
                Some(_) => usage("--limit needs --all or --older-than-check"),
                None => Ok(None),
            };
        }
        if !arguments.operands.is_empty() {
            return usage("--all and --older-than-check choose the backups: name none beside them");
        }
        Ok(Some(Self {
            level,
            before,
            limit,
            now,
        }))
    }

    /// The completed ones that are due, those first that were never verified, then those that
    /// were longest ago. A verification that was less thorough counts as none, and so does one
    /// from the future: nobody can tell how long ago it was.
    pub(crate) fn choose(&self, all: Vec<Backup>) -> Vec<Backup> {
        let levels = self.level.and_deeper();
        let verified_at = |backup: &Backup| LastVerified::checked_at(backup, levels, self.now);
        let is_due = |backup: &Backup| {
            let at = verified_at(backup);
            backup.status == Status::Completed
                && self
                    .before
                    .is_none_or(|before| at.is_none_or(|at| at < before))
        };
        let mut due: Vec<_> = all.into_iter().filter(is_due).collect();
        due.sort_by_key(|backup| (verified_at(backup), backup.created_at, backup.id));
        due.truncate(self.limit.unwrap_or(usize::MAX));
        due
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn backup(id: i64, status: &str, last: Option<(&str, &str)>) -> Backup {
        let mut backup: Backup = serde_json::from_value(serde_json::json!({
            "id": id, "backup_name": format!("b{id}"), "backup_type": "manual", "status": status,
            "source_version": null, "backup_path": "/b", "backup_size": 1, "file_count": 1,
            "compression_type": "gzip", "backup_hash": null, "description": null,
            "backup_metadata": {}, "protected": false, "created_at": "2026-01-01T00:00:00Z",
            "expires_at": null
        }))
        .unwrap();
        if let Some((at, level)) = last {
            let last = LastVerified {
                at: at.parse().unwrap(),
                level: level.to_owned(),
                ok: false,
            };
            last.put(&mut backup).unwrap();
        }
        backup
    }

    #[test]
    fn the_longest_unverified_come_first_and_the_less_thorough_count_as_never() {
        let all = || {
            vec![
                backup(1, "completed", Some(("2026-03-01T00:00:00Z", "sha256"))),
                backup(2, "completed", Some(("2026-02-01T00:00:00Z", "deep"))),
                backup(3, "completed", Some(("2026-04-01T00:00:00Z", "quick"))),
                backup(4, "failed", None),
                backup(5, "completed", None),
                backup(6, "completed", Some(("2026-02-02T00:00:00Z", "nonsense"))),
            ]
        };
        let ids = |round: Round| {
            let chosen = round.choose(all());
            chosen.iter().map(|it| it.id).collect::<Vec<_>>()
        };
        let round = |level, before: Option<&str>, limit| Round {
            level,
            before: before.map(|time| time.parse().unwrap()),
            limit,
            now: "2026-05-01T00:00:00Z".parse().unwrap(),
        };
        assert_eq!(ids(round(Level::Quick, None, None)), [5, 6, 2, 1, 3]);
        assert_eq!(ids(round(Level::Sha256, None, None)), [3, 5, 6, 2, 1]);
        assert_eq!(ids(round(Level::Deep, None, Some(3))), [1, 3, 5]);
        let before = Some("2026-03-01T00:00:00Z");
        assert_eq!(ids(round(Level::Quick, before, None)), [5, 6, 2]);
        assert_eq!(ids(round(Level::Deep, before, None)), [1, 3, 5, 6, 2]);
    }
}
