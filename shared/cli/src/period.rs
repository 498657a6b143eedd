//! Calendar periods: the hour, day, week and so on that a local time belongs to.
//!
//! The hour that is repeated when daylight saving ends counts as one. Knows no zone and no backup.

use bk_schema::invalid::name_in;
use jiff::civil::DateTime;

/// A kind of period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Of the clock.
    Hour,
    /// Of the calendar.
    Day,
    /// ISO 8601: from Monday, in the year that has its Thursday.
    Week,
    /// Of the calendar.
    Month,
    /// From January, April, July, October.
    Quarter,
    /// Of the calendar.
    Year,
}

impl Period {
    /// Every kind with its name in flags and reasons.
    pub const ALL: [(&'static str, Self); 6] = [
        ("hourly", Self::Hour),
        ("daily", Self::Day),
        ("weekly", Self::Week),
        ("monthly", Self::Month),
        ("quarterly", Self::Quarter),
        ("yearly", Self::Year),
    ];

    /// Its name in flags and reasons.
    pub fn name(self) -> &'static str {
        name_in(&Self::ALL, self)
    }

    /// The name of the period: `2026-11-21`, `2026-W47`, `2026-Q4`. Later ones come later in the
    /// alphabet.
    pub fn label(self, time: DateTime) -> String {
        let year = time.year();
        match self {
            Self::Hour => time.strftime("%Y-%m-%d %H:00").to_string(),
            Self::Day => time.strftime("%Y-%m-%d").to_string(),
            Self::Week => {
                let week = time.date().iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Self::Month => time.strftime("%Y-%m").to_string(),
            Self::Quarter => format!("{year:04}-Q{}", (time.month() - 1) / 3 + 1),
            Self::Year => format!("{year:04}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_the_period() {
        for (time, labels) in [
            // A leap day; a quarter's last day; week 53 reaches into the next year; a Monday of
            // the old year that is in week 1 of the new one.
            (
                "2024-02-29T23:59",
                [
                    "2024-02-29 23:00",
                    "2024-02-29",
                    "2024-W09",
                    "2024-02",
                    "2024-Q1",
                    "2024",
                ],
            ),
            (
                "2026-09-30T00:00",
                [
                    "2026-09-30 00:00",
                    "2026-09-30",
                    "2026-W40",
                    "2026-09",
                    "2026-Q3",
                    "2026",
                ],
            ),
            (
                "2027-01-03T12:00",
                [
                    "2027-01-03 12:00",
                    "2027-01-03",
                    "2026-W53",
                    "2027-01",
                    "2027-Q1",
                    "2027",
                ],
            ),
            (
                "2024-12-30T12:00",
                [
                    "2024-12-30 12:00",
                    "2024-12-30",
                    "2025-W01",
                    "2024-12",
                    "2024-Q4",
                    "2024",
                ],
            ),
        ] {
            let time: DateTime = time.parse().unwrap();
            assert_eq!(Period::ALL.map(|(_, period)| period.label(time)), labels);
        }
    }

    #[test]
    fn later_periods_have_later_labels() {
        let begin: DateTime = "2019-12-20T00:30".parse().unwrap();
        let hour = |n: i64| begin.checked_add(jiff::Span::new().hours(n)).unwrap();
        for (_, period) in Period::ALL {
            for n in 0..70_000 {
                let (a, b) = (hour(n), hour(n + 1));
                assert!(period.label(a) <= period.label(b), "{a}");
            }
        }
    }
}
