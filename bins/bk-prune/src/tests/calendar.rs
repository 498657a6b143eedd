//! Tables of what rules keep, over the calendar's corners, in Berlin's zone.

use super::store::{at, kept, told};

const NOW: &str = "2027-06-01T00:00:00Z";

#[test]
fn the_hour_that_spring_skips_has_no_backup() {
    // 01:15 and 01:45, then 03:15 and 03:45.
    let all = at(&[
        "2026-03-29T00:15",
        "2026-03-29T00:45",
        "2026-03-29T01:15",
        "2026-03-29T01:45",
    ]);
    let expected = [
        "1 keep oldest hourly 2026-03-29 01:00",
        "2 keep hourly 2026-03-29 01:00",
        "3 remove kept by no rule",
        "4 keep hourly 2026-03-29 03:00, newest in group",
    ];
    assert_eq!(told(&all, "--keep-hourly all", NOW), expected);
}

#[test]
fn the_hour_that_autumn_repeats_is_one() {
    // 02:15 and 02:45 in summer time, the same in winter time, 03:15.
    let all = at(&[
        "2026-10-24T23:15",
        "2026-10-25T00:15",
        "2026-10-25T00:45",
        "2026-10-25T01:15",
        "2026-10-25T01:45",
        "2026-10-25T02:15",
    ]);
    let expected = [
        "1 keep hourly 2026-10-25 01:00",
        "2 remove kept by no rule",
        "3 remove kept by no rule",
        "4 remove kept by no rule",
        "5 keep hourly 2026-10-25 02:00",
        "6 keep hourly 2026-10-25 03:00, newest in group",
    ];
    assert_eq!(told(&all, "--keep-hourly all", NOW), expected);
}

#[test]
fn a_day_begins_at_local_midnight_in_summer_and_in_winter() {
    // The last minute of the 24th, the first and the last of the 25th, which has 25 hours, the
    // first of the 26th.
    let autumn = at(&[
        "2026-10-24T21:59",
        "2026-10-24T22:00",
        "2026-10-25T22:59",
        "2026-10-25T23:00",
    ]);
    assert_eq!(kept(&autumn, "--keep-daily 3", NOW), [1, 3, 4]);
    // 23 hours.
    let spring = at(&[
        "2026-03-28T22:59",
        "2026-03-28T23:00",
        "2026-03-29T21:59",
        "2026-03-29T22:00",
    ]);
    assert_eq!(kept(&spring, "--keep-daily 3", NOW), [1, 3, 4]);
}

#[test]
fn a_span_of_days_reaches_the_same_hour_over_a_change() {
    // The newest is at 12:00 in winter time. A day before is 12:00 in summer time.
    let all = at(&[
        "2026-10-24T09:59",
        "2026-10-24T10:00",
        "2026-10-24T10:01",
        "2026-10-25T11:00",
    ]);
    assert_eq!(kept(&all, "--keep-within 1d", NOW), [3, 4]);
    assert_eq!(kept(&all, "--keep-within 25h", NOW), [3, 4]);
    assert_eq!(kept(&all, "--keep-within 24h", NOW), [4]);
}

#[test]
fn the_leap_day_is_a_day_of_its_own() {
    let all = at(&[
        "2024-02-27T12:00",
        "2024-02-28T12:00",
        "2024-02-29T12:00",
        "2024-03-01T12:00",
    ]);
    let expected = [
        "1 remove kept by no rule",
        "2 keep daily 2024-02-28",
        "3 keep daily 2024-02-29, monthly 2024-02",
        "4 keep daily 2024-03-01, monthly 2024-03, newest in group",
    ];
    assert_eq!(told(&all, "--keep-daily 3 --keep-monthly 2", NOW), expected);
    // A month before a date that the shorter month has not is that month's last day.
    let march = at(&["2023-02-28T10:00", "2023-02-28T12:01", "2023-03-31T11:00"]);
    assert_eq!(kept(&march, "--keep-within 1mo", NOW), [2, 3]);
}

#[test]
fn week_53_reaches_into_the_next_year() {
    // A Sunday in week 52, a Thursday and a Sunday in week 53, a Monday in week 1.
    let all = at(&[
        "2026-12-27T12:00",
        "2026-12-31T12:00",
        "2027-01-03T12:00",
        "2027-01-04T12:00",
    ]);
    let expected = [
        "1 keep weekly 2026-W52",
        "2 keep yearly 2026",
        "3 keep weekly 2026-W53",
        "4 keep weekly 2027-W01, yearly 2027, newest in group",
    ];
    assert_eq!(told(&all, "--keep-weekly 3 --keep-yearly 2", NOW), expected);
    // The last days of 2024 are in week 1 of 2025, a year apart from week 1 of 2024.
    let all = at(&["2024-01-03T12:00", "2024-12-30T12:00", "2025-01-01T12:00"]);
    assert_eq!(kept(&all, "--keep-weekly 2", NOW), [1, 3]);
}

#[test]
fn quarters_end_in_march_june_september_and_december() {
    let all = at(&[
        "2026-01-15T12:00",
        "2026-03-31T12:00",
        "2026-04-01T12:00",
        "2026-06-30T21:59",
        "2026-06-30T22:00",
        "2026-10-01T12:00",
    ]);
    let expected = [
        "1 remove kept by no rule",
        "2 keep quarterly 2026-Q1",
        "3 remove kept by no rule",
        "4 keep quarterly 2026-Q2",
        "5 keep quarterly 2026-Q3",
        "6 keep quarterly 2026-Q4, newest in group",
    ];
    assert_eq!(told(&all, "--keep-quarterly 4", NOW), expected);
}

#[test]
fn of_equal_times_the_larger_id_is_the_newer() {
    let all = at(&["2026-11-21T03:00"; 3]);
    assert_eq!(kept(&all, "--keep-last 1", NOW), [3]);
    assert_eq!(kept(&all, "--keep-last 2", NOW), [2, 3]);
    assert_eq!(kept(&all, "--keep-daily 1", NOW), [3]);
    let expected = [
        "1 keep oldest daily 2026-11-21",
        "2 remove kept by no rule",
        "3 keep daily 2026-11-21, newest in group",
    ];
    assert_eq!(told(&all, "--keep-daily 2", NOW), expected);
}

#[test]
fn a_time_to_come_is_no_time_to_measure_from() {
    let now = "2026-11-24T12:00:00Z";
    let all = at(&[
        "2026-10-01T12:00",
        "2026-11-16T12:00",
        "2026-11-23T12:00",
        "2036-01-01T12:00",
    ]);
    let expected = [
        "1 remove kept by no rule",
        "2 remove kept by no rule",
        "3 keep within 7d, newest in group",
        "4 keep from the future",
    ];
    assert_eq!(told(&all, "--keep-within 7d", now), expected);
    assert_eq!(kept(&all[3..], "--keep-within 1h", now), [4]);
    assert_eq!(kept(&all, "--keep-last 1", now), [3, 4]);
}

#[test]
fn a_store_whose_backups_stopped_is_not_emptied() {
    let all = at(&[
        "2025-01-01T12:00",
        "2025-01-05T12:00",
        "2025-01-06T06:00",
        "2025-01-06T12:00",
    ]);
    assert_eq!(kept(&all, "--keep-within 2d", NOW), [2, 3, 4]);
    let expected = [
        "1 remove kept by no rule",
        "2 keep daily 2025-01-05 within 2d",
        "3 remove kept by no rule",
        "4 keep daily 2025-01-06 within 2d, newest in group",
    ];
    assert_eq!(told(&all, "--keep-within-daily 2d", NOW), expected);
    let expected = [
        "1 remove older than 30d",
        "2 remove older than 30d",
        "3 remove older than 30d",
        "4 keep newest in group",
    ];
    assert_eq!(told(&all, "--older-than 30d", NOW), expected);
}

#[test]
fn days_without_a_backup_do_not_count() {
    let all = at(&[
        "2025-03-01T12:00",
        "2026-01-01T12:00",
        "2026-01-01T13:00",
        "2026-06-01T12:00",
        "2026-11-20T12:00",
    ]);
    assert_eq!(kept(&all, "--keep-daily 3", NOW), [3, 4, 5]);
    assert_eq!(kept(&all, "--keep-monthly 3", NOW), [3, 4, 5]);
    assert_eq!(kept(&all, "--keep-yearly all", NOW), [1, 5]);
}

#[test]
fn the_oldest_counts_towards_a_rule_with_room() {
    let all = at(&[
        "2026-11-20T03:00",
        "2026-11-20T04:00",
        "2026-11-20T05:00",
        "2026-11-21T03:00",
    ]);
    let expected = [
        "1 keep oldest daily 2026-11-20, oldest monthly 2026-11",
        "2 remove kept by no rule",
        "3 keep daily 2026-11-20",
        "4 keep daily 2026-11-21, monthly 2026-11, newest in group",
    ];
    assert_eq!(
        told(&all, "--keep-daily 7 --keep-monthly 12", NOW),
        expected
    );
    // Two days fill it.
    assert_eq!(kept(&all, "--keep-daily 2", NOW), [3, 4]);
    // Within a span it counts where it lies in it.
    assert_eq!(kept(&all, "--keep-within-daily 7d", NOW), [1, 3, 4]);
    assert_eq!(kept(&all, "--keep-within-daily 23h", NOW), [3, 4]);
}

#[test]
fn what_is_exactly_as_old_as_the_span_is_not_older() {
    let all = at(&["2026-11-20T11:59", "2026-11-20T12:00", "2026-11-21T12:00"]);
    assert_eq!(
        kept(&all, "--older-than 1d", "2026-11-21T12:00:00Z"),
        [2, 3]
    );
    // But it does not lie within.
    assert_eq!(kept(&all, "--keep-within 1d", NOW), [3]);
}
