//! How the backups grow, from the ledger, and a forecast. Pure functions.
//!
//! Knows no file system, only paths.

use std::collections::HashMap;

use bk_schema::clock;
use bk_schema::event::LedgerRow;
use bk_schema::record::Backup;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// The longest period that growth is computed for.
pub(crate) const LONGEST_DAYS: i64 = 90;
/// The events that change the disk usage of the backups.
pub(crate) const EVENTS: [&str; 4] = ["create", "adopt", "remove", "prune"];

/// The number of backups that the size of the next one is predicted from.
const TREND_LEN: usize = 5;

/// A change of the disk usage, from an event in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SizeChange {
    pub(crate) at: Timestamp,
    pub(crate) bytes: i64,
    /// The path of the archive, if it is known.
    pub(crate) path: Option<String>,
}

/// Bytes per day over the last days; `None` if the ledger is younger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Growth {
    #[serde(rename = "7d")]
    pub(crate) week: Option<i64>,
    #[serde(rename = "30d")]
    pub(crate) month: Option<i64>,
    #[serde(rename = "90d")]
    pub(crate) quarter: Option<i64>,
}

/// The changes that these events made. The path of an archive is that of its record, or that of its
/// removal.
pub(crate) fn changes<'a>(
    events: &[LedgerRow],
    backups: impl Iterator<Item = &'a Backup>,
) -> Vec<SizeChange> {
    let mut paths = HashMap::new();
    let mut sizes = HashMap::new();
    for (id, event) in events.iter().filter_map(|it| Some((it.backup_id?, it))) {
        let path = event.details.get("path").and_then(|it| it.as_str());
        paths.extend(path.map(|path| (id, path)));
        sizes.extend(number(event, "freed").map(|bytes| (id, bytes)));
    }
    for backup in backups {
        paths.insert(backup.id, &backup.backup_path);
        sizes.extend(
            backup
                .backup_size
                .map(|bytes| (backup.id, bytes.cast_signed())),
        );
    }
    let change = |event: &LedgerRow| {
        let id = event.backup_id;
        let bytes = match event.event.as_str() {
            "create" => number(event, "bytes")?,
            // Its archive was counted when it was created.
            "adopt" if event.details.get("action")? == "relinked" => return None,
            // A location has the archive: nothing came here.
            "adopt" if event.details.get("location").is_some() => return None,
            "adopt" => *sizes.get(&id?)?,
            _ => -number(event, "freed")?,
        };
        Some(SizeChange {
            at: event.happened_at,
            bytes,
            path: id.and_then(|id| paths.get(&id)).map(|it| (*it).to_owned()),
        })
    };
    let done = events.iter().filter(|event| event.outcome == "ok");
    done.filter_map(change).collect()
}

fn number(event: &LedgerRow, key: &str) -> Option<i64> {
    event.details.get(key)?.as_i64()
}

impl Growth {
    /// From changes, each with its time and its bytes.
    pub(crate) fn new(
        changes: &[(Timestamp, i64)],
        ledger_since: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let until = clock::latest_plausible(now);
        let over = |days: i64| {
            let since = before(now, days);
            ledger_since.filter(|begin| *begin <= since)?;
            let last = changes
                .iter()
                .filter(|(at, _)| (since..=until).contains(at));
            Some(last.map(|(_, bytes)| bytes).sum::<i64>() / days)
        };
        Self {
            week: over(7),
            month: over(30),
            quarter: over(LONGEST_DAYS),
        }
    }

    /// The growth that the forecast is based on.
    pub(crate) fn expected(self) -> Option<i64> {
        self.month.or(self.week)
    }
}

/// The time that many times 24 hours ago.
pub(crate) fn before(now: Timestamp, days: i64) -> Timestamp {
    let shifted = now.checked_sub(SignedDuration::from_hours(days * 24));
    shifted.unwrap_or(Timestamp::MIN)
}

/// Days until only the reserve is free, rounded down to a tenth; `None` if nothing grows.
pub(crate) fn days_left(free_bytes: u64, reserve_bytes: u64, growth: Option<i64>) -> Option<f64> {
    let growth = growth.filter(|bytes| *bytes > 0)?;
    let tenths = u128::from(free_bytes.saturating_sub(reserve_bytes)) * 10 / growth as u128;
    Some(tenths as f64 / 10.0)
}

/// The predicted size of the next backup of some sources, from the sizes of the last ones, newest
/// first: the size of the newest plus the average change from one to the next.
pub(crate) fn next_backup(newest_first: impl Iterator<Item = u64>) -> Option<u64> {
    let last: Vec<_> = newest_first.take(TREND_LEN).collect();
    let (newest, oldest) = (i128::from(*last.first()?), i128::from(*last.last()?));
    let steps = last.len().saturating_sub(1).max(1) as i128;
    let next = newest + (newest - oldest) / steps;
    Some(u64::try_from(next.max(0)).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn entry(id: i64, event: &str, outcome: &str, details: serde_json::Value) -> LedgerRow {
        LedgerRow {
            id,
            happened_at: time("2026-11-24T00:00:00Z"),
            program: "bk".into(),
            backup_id: Some(id % 10),
            backup_name: None,
            event: event.into(),
            outcome: outcome.into(),
            details: serde_json::from_value(details).unwrap(),
        }
    }

    #[test]
    fn bytes_come_with_archives_and_go_with_them() {
        let events = [
            entry(1, "create", "ok", json!({"bytes": 100})),
            entry(2, "create", "failed", json!({"bytes": 100})),
            entry(3, "adopt", "ok", json!({"action": "adopted"})),
            entry(4, "adopt", "ok", json!({"action": "relinked"})),
            entry(
                23,
                "adopt",
                "ok",
                json!({"action": "adopted", "location": "x"}),
            ),
            entry(11, "remove", "ok", json!({"freed": 90, "path": "/a/1"})),
            entry(13, "prune", "ok", json!({"freed": 50, "path": "/a/3"})),
            entry(15, "remove", "ok", json!({"reason": "a failed attempt"})),
        ];
        let told: Vec<_> = changes(&events, std::iter::empty())
            .into_iter()
            .map(|it| (it.bytes, it.path.unwrap()))
            .collect();
        let expected = [(100, "/a/1"), (50, "/a/3"), (-90, "/a/1"), (-50, "/a/3")];
        assert_eq!(told, expected.map(|(bytes, path)| (bytes, path.to_owned())));
    }

    #[test]
    fn growth_is_told_of_days_that_the_ledger_knows() {
        let now = time("2026-11-24T12:00:00Z");
        let changes = [
            (before(now, 90), 9000),
            (before(now, 30), -300),
            (before(now, 8), 3000),
            (before(now, 7), 700),
            (now, 7),
            // By a clock that was wrong.
            (before(now, -30), 99_999),
        ];
        let of = |begin| Growth::new(&changes, begin, now);
        assert_eq!(of(None), Growth::default());
        let growth = of(Some(before(now, 90)));
        assert_eq!(growth.week, Some(707 / 7));
        assert_eq!(growth.month, Some(3407 / 30));
        assert_eq!(growth.quarter, Some(12407 / 90));
        assert_eq!(growth.expected(), growth.month);
        let second = SignedDuration::from_secs(1);
        let young = of(Some(before(now, 30) + second));
        assert_eq!((young.month, young.expected()), (None, Some(101)));
        assert_eq!(of(Some(before(now, 7) + second)), Growth::default());
    }

    #[test]
    fn days_are_told_downwards_and_only_of_what_grows() {
        assert_eq!(days_left(1000, 300, Some(50)), Some(14.0));
        assert_eq!(days_left(999, 300, Some(50)), Some(13.9));
        assert_eq!(days_left(200, 300, Some(50)), Some(0.0));
        assert_eq!(days_left(1000, 300, Some(0)), None);
        assert_eq!(days_left(1000, 300, Some(-1)), None);
        assert_eq!(days_left(1000, 300, None), None);
        assert!(days_left(u64::MAX, 0, Some(1)).unwrap() > 1e19);
    }

    #[test]
    fn the_next_backup_goes_on_as_the_last_ones_did() {
        for (last, next) in [
            (&[][..], None),
            (&[100], Some(100)),
            (&[110, 100], Some(120)),
            (&[140, 130, 120, 110, 100, 5, 5], Some(150)),
            (&[10, 100], Some(0)),
            (&[u64::MAX, 0], Some(u64::MAX)),
        ] {
            assert_eq!(next_backup(last.iter().copied()), next, "{last:?}");
        }
    }
}
