//! Statistics by period and event: successes and failures, duration, bytes. A pure function of
//! rows, period and zone.
//!
//! Knows no catalog and no clock.

use std::collections::BTreeMap;

use bk_cli::period::Period;
use bk_schema::event::LedgerRow;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;

/// The statistics of one event in one period; bk-record(5) describes the keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// `2026-11-24`, `2026-W48` or `2026-11`, in local time.
    pub(crate) period: String,
    pub(crate) event: String,
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    /// In percent, with two decimals.
    pub(crate) success_rate: Option<f64>,
    /// Median over the successes that have a duration, to the millisecond; likewise the bytes.
    pub(crate) median_seconds: Option<f64>,
    pub(crate) median_bytes: Option<u64>,
    pub(crate) total_bytes: Option<u64>,
    /// Of the total, what was not taken over from a parent.
    pub(crate) new_bytes: Option<u64>,
}

#[derive(Debug, Default)]
struct Group {
    ok: u64,
    failed: u64,
    seconds: Vec<f64>,
    bytes: Vec<u64>,
    new_bytes: Option<u64>,
}

/// Collects statistics. Keeps two numbers per row.
pub(crate) struct Statistics {
    period: Period,
    zone: TimeZone,
    groups: BTreeMap<(String, String), Group>,
}

impl Statistics {
    pub(crate) fn new(period: Period, zone: TimeZone) -> Self {
        Self {
            period,
            zone,
            groups: BTreeMap::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, entry: &LedgerRow) {
        let time = entry.happened_at.to_zoned(self.zone.clone()).datetime();
        let key = (self.period.label(time), entry.event.clone());
        let group = self.groups.entry(key).or_default();
        if entry.outcome != "ok" {
            group.failed += 1;
            return;
        }
        group.ok += 1;
        let seconds = entry.details.get("seconds").and_then(Value::as_f64);
        group.seconds.extend(seconds);
        let bytes = |key| entry.details.get(key).and_then(Value::as_u64);
        group.bytes.extend(bytes("bytes").or(bytes("freed")));
        if let Some(new_bytes) = bytes("new_bytes") {
            let sum = group.new_bytes.unwrap_or_default();
            group.new_bytes = Some(sum.saturating_add(new_bytes));
        }
    }

    /// The statistics, sorted by period, then by event.
    pub(crate) fn rows(self) -> Vec<Row> {
        let row = |((period, event), group): ((String, String), Group)| group.row(period, event);
        self.groups.into_iter().map(row).collect()
    }
}

impl Group {
    fn row(mut self, period: String, event: String) -> Row {
        let count = self.ok + self.failed;
        let rate = || rounded(self.ok as f64 * 100.0 / count as f64, 100.0);
        self.seconds.sort_by(f64::total_cmp);
        self.bytes.sort_unstable();
        let total = || {
            self.bytes
                .iter()
                .fold(0, |sum: u64, it| sum.saturating_add(*it))
        };
        let seconds = middle(&self.seconds).map(|(low, high)| low.midpoint(high));
        Row {
            success_rate: (count > 0).then(rate),
            median_seconds: seconds.map(|it| rounded(it, 1000.0)),
            median_bytes: middle(&self.bytes).map(|(low, high)| low.midpoint(high)),
            total_bytes: (!self.bytes.is_empty()).then(total),
            new_bytes: self.new_bytes,
            period,
            event,
            ok: self.ok,
            failed: self.failed,
        }
    }
}

/// The two values in the middle, equal if their number is odd.
fn middle<T: Copy>(sorted: &[T]) -> Option<(T, T)> {
    let high = sorted.len() / 2;
    let low = sorted.len().checked_sub(1)? / 2;
    Some((*sorted.get(low)?, *sorted.get(high)?))
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const PERIODS: [Period; 3] = [Period::Day, Period::Week, Period::Month];

    fn entry(time: &str, event: &str, outcome: &str, details: Value) -> LedgerRow {
        LedgerRow {
            id: 1,
            happened_at: time.parse().unwrap(),
            program: "bk-test".into(),
            backup_id: None,
            backup_name: None,
            event: event.into(),
            outcome: outcome.into(),
            details: details.as_object().unwrap().clone(),
        }
    }

    fn rows(period: Period, zone: &str, entries: &[LedgerRow]) -> Vec<Row> {
        let mut statistics = Statistics::new(period, TimeZone::get(zone).unwrap());
        entries.iter().for_each(|entry| statistics.add(entry));
        statistics.rows()
    }

    /// Period and count of each row.
    fn counts(period: Period, zone: &str, times: &[&str]) -> Vec<(String, u64)> {
        let entries: Vec<_> = times
            .iter()
            .map(|time| entry(time, "create", "ok", json!({})))
            .collect();
        let rows = rows(period, zone, &entries).into_iter();
        rows.map(|row| (row.period, row.ok)).collect()
    }

    fn told(all: &[(&str, u64)]) -> Vec<(String, u64)> {
        let own = |(label, count): &(&str, u64)| ((*label).to_owned(), *count);
        all.iter().map(own).collect()
    }

    #[test]
    fn a_row_has_what_went_well_and_what_did_not() {
        let day = "2026-11-24T08:00:00Z";
        let entries = [
            entry(
                day,
                "create",
                "ok",
                json!({"seconds": 3.0, "bytes": 10, "new_bytes": 4}),
            ),
            entry(
                day,
                "create",
                "ok",
                json!({"seconds": 1.0, "bytes": 21, "new_bytes": 21, "freed": 7}),
            ),
            entry(
                day,
                "create",
                "failed",
                json!({"seconds": 99.0, "bytes": 99}),
            ),
            entry(day, "remove", "ok", json!({"freed": 5})),
            entry(day, "remove", "ok", json!({"freed": 9})),
            entry(day, "remove", "ok", json!({"freed": u64::MAX})),
            entry(day, "set", "failed", json!({"seconds": "x", "bytes": -1})),
        ];
        let rows = rows(Period::Day, "UTC", &entries);
        let lines: Vec<_> = rows.iter().map(|row| json!(row)).collect();
        let day = "2026-11-24";
        assert_eq!(
            lines,
            [
                json!({"period": day, "event": "create", "ok": 2, "failed": 1, "success_rate": 66.67,
                       "median_seconds": 2.0, "median_bytes": 15, "total_bytes": 31, "new_bytes": 25}),
                json!({"period": day, "event": "remove", "ok": 3, "failed": 0, "success_rate": 100.0,
                       "median_seconds": null, "median_bytes": 9, "total_bytes": u64::MAX, "new_bytes": null}),
                json!({"period": day, "event": "set", "ok": 0, "failed": 1, "success_rate": 0.0,
                       "median_seconds": null, "median_bytes": null, "total_bytes": null, "new_bytes": null}),
            ]
        );
    }

    #[test]
    fn a_day_is_the_zone_s_and_has_25_hours_where_summer_time_ends() {
        let zone = "Europe/Berlin";
        let times = [
            "2026-10-24T21:59:59Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T22:59:59Z",
            "2026-10-25T23:00:00Z",
        ];
        let days = told(&[("2026-10-24", 1), ("2026-10-25", 4), ("2026-10-26", 1)]);
        assert_eq!(counts(Period::Day, zone, &times), days);
        let weeks = told(&[("2026-W43", 5), ("2026-W44", 1)]);
        assert_eq!(counts(Period::Week, zone, &times), weeks);
        // The day without its third hour.
        let spring = [
            "2026-03-28T23:00:00Z",
            "2026-03-29T21:59:59Z",
            "2026-03-29T22:00:00Z",
        ];
        let days = told(&[("2026-03-29", 2), ("2026-03-30", 1)]);
        assert_eq!(counts(Period::Day, zone, &spring), days);
    }

    #[test]
    fn week_53_reaches_into_the_next_year_and_week_1_into_the_old_one() {
        let times = [
            "2026-12-31T12:00:00Z",
            "2027-01-03T12:00:00Z",
            "2027-01-04T12:00:00Z",
        ];
        let weeks = told(&[("2026-W53", 2), ("2027-W01", 1)]);
        assert_eq!(counts(Period::Week, "UTC", &times), weeks);
        let months = told(&[("2026-12", 1), ("2027-01", 2)]);
        assert_eq!(counts(Period::Month, "UTC", &times), months);
        let times = [
            "2024-12-29T12:00:00Z",
            "2024-12-30T12:00:00Z",
            "2025-01-01T12:00:00Z",
        ];
        let weeks = told(&[("2024-W52", 1), ("2025-W01", 2)]);
        assert_eq!(counts(Period::Week, "UTC", &times), weeks);
    }

    prop_compose! {
        fn any_entry()(
            second in 1_700_000_000..1_800_000_000i64,
            event in prop::sample::select(vec!["create", "verify", "prune"]),
            is_ok in any::<bool>(),
            seconds in prop::option::of(0.0..1e6),
            bytes in prop::option::of(0..1u64 << 40),
        ) -> LedgerRow {
            let time = jiff::Timestamp::from_second(second).unwrap().to_string();
            let outcome = if is_ok { "ok" } else { "failed" };
            entry(&time, event, outcome, json!({"seconds": seconds, "bytes": bytes}))
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_counted_twice(
            entries in prop::collection::vec(any_entry(), 0..60),
        ) {
            let oks = entries.iter().filter(|it| it.outcome == "ok");
            let bytes: u64 = oks.clone().filter_map(|it| it.details["bytes"].as_u64()).sum();
            for period in PERIODS {
                let rows = rows(period, "America/Sao_Paulo", &entries);
                let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
                prop_assert_eq!(sum(|row| row.ok), oks.clone().count() as u64);
                prop_assert_eq!(sum(|row| row.ok + row.failed), entries.len() as u64);
                prop_assert_eq!(sum(|row| row.total_bytes.unwrap_or(0)), bytes);
                let keys: Vec<_> = rows.iter().map(|row| (&row.period, &row.event)).collect();
                prop_assert!(keys.is_sorted_by(|a, b| a < b), "{:?}", keys);
            }
        }

        #[test]
        fn the_order_of_the_rows_is_no_matter(
            (entries, shuffled) in prop::collection::vec(any_entry(), 0..40)
                .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        ) {
            for period in PERIODS {
                prop_assert_eq!(rows(period, "UTC", &entries), rows(period, "UTC", &shuffled));
            }
        }

        #[test]
        fn as_many_lie_below_the_median_as_above(
            mut values in prop::collection::vec(0..1000u64, 1..30),
        ) {
            values.sort_unstable();
            let (low, high) = middle(&values).unwrap();
            let half = values.len() / 2;
            prop_assert!(values.iter().filter(|it| **it < low).count() <= half);
            prop_assert!(values.iter().filter(|it| **it > high).count() <= half);
            prop_assert_eq!(low == high || values.len() % 2 == 0, true);
        }
    }
}
