//! Protection against a wrong clock: times in the future are ignored, and a clock that jumped is
//! not trusted until it has been steady for a day.
//!
//! Pure functions, but for reading the clock itself. Knows no catalog.

use jiff::{SignedDuration, Timestamp, Unit};
use serde::{Deserialize, Serialize};

use crate::record::{Backup, Status};

/// Tolerated difference between the clocks of machines.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// The longest plausible gap between two runs of a regular task, unless a setting says otherwise.
pub const GAP_DAYS: u32 = 30;
/// A clock that jumped is trusted again once it has been steady for this long: a day, be it the
/// one that daylight saving shortens.
pub const DAY: SignedDuration = SignedDuration::from_hours(23);
/// Rounds closer together than this are not stored one by one.
const STEP: SignedDuration = SignedDuration::from_hours(1);

/// The current time, rounded to the microseconds that the catalog stores.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Microsecond).unwrap_or(now)
}

/// The latest time that does not count as being in the future.
pub fn latest_plausible(now: Timestamp) -> Timestamp {
    now.checked_add(TOLERANCE).unwrap_or(Timestamp::MAX)
}

/// Whether a time is so far in the future that it, or the clock, must be wrong: it counts as
/// unknown.
pub fn is_in_future(time: Timestamp, now: Timestamp) -> bool {
    time > latest_plausible(now)
}

/// A warning about completed backups from the future; `None` if there are none.
pub fn warning<'a>(
    backups: impl IntoIterator<Item = &'a Backup>,
    now: Timestamp,
) -> Option<String> {
    let is_it = |it: &&Backup| it.status == Status::Completed && is_in_future(it.created_at, now);
    let mut all = backups.into_iter().filter(is_it);
    let first = all.next()?;
    let (name, time) = (first.backup_name.escape_debug(), first.created_at);
    Some(match all.count() {
        0 => format!(
            "warning: backup '{name}' was made in the future ({time:.0}): its age counts as unknown"
        ),
        others => format!(
            "warning: {} backups were made in the future, first '{name}' ({time:.0}): their age counts as unknown; 'bk-ls --since 0s' lists them",
            others + 1
        ),
    })
}

/// A jump of the clock, or a machine that was off for a long time: the two look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// The last trusted time.
    pub from: Timestamp,
    /// The first time after the jump.
    pub to: Timestamp,
}

impl Jump {
    /// `None` if no more than `gap_days` passed.
    pub fn between(from: Timestamp, to: Timestamp, gap_days: u32) -> Option<Self> {
        (!is_continuous(from, to, gap_days)).then_some(Self { from, to })
    }
}

/// `the clock went from 2026-11-05T03:00:00Z to 2036-11-06T03:00:00Z, 3654 days ahead`.
impl std::fmt::Display for Jump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to } = self;
        let days = to.duration_since(*from).as_hours() / 24;
        let word = if days < 0 { "back" } else { "ahead" };
        let days = days.abs();
        write!(
            f,
            "the clock went from {from:.0} to {to:.0}, {days} days {word}"
        )
    }
}

fn is_continuous(last: Timestamp, now: Timestamp, gap_days: u32) -> bool {
    let gap = SignedDuration::from_hours(i64::from(gap_days) * 24);
    !is_in_future(last, now) && now.duration_since(last) <= gap
}

/// When bk-auto ran, as it stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rounds {
    /// The last round with a trusted clock.
    #[serde(rename = "believed")]
    pub trusted: Timestamp,
    /// The rounds since then, if their clock is not trusted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubted: Option<Doubted>,
}

/// Rounds that continue each other, but not the trusted ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubted {
    /// When the first was.
    pub since: Timestamp,
    /// When the last was.
    pub last: Timestamp,
}

impl Rounds {
    /// Adds a round. A clock that comes back is trusted at once, one that stays where it jumped to
    /// after a day.
    #[must_use]
    pub fn with(self, now: Timestamp, gap_days: u32) -> Self {
        if is_continuous(self.trusted, now, gap_days) {
            return Self::of(now);
        }
        let before = self
            .doubted
            .filter(|it| is_continuous(it.last, now, gap_days));
        let since = before.map_or(now, |it| it.since);
        if now.duration_since(since) >= DAY {
            return Self::of(now);
        }
        let doubted = Some(Doubted { since, last: now });
        Self { doubted, ..self }
    }

    /// The state after the very first round.
    pub fn of(trusted: Timestamp) -> Self {
        Self {
            trusted,
            doubted: None,
        }
    }

    /// The jump that makes the clock untrusted; `None` if it is trusted.
    pub fn jump(&self) -> Option<Jump> {
        let to = self.doubted?.since;
        let from = self.trusted;
        Some(Jump { from, to })
    }

    /// Whether this is different enough from what is stored to be stored anew.
    pub fn differs_from(&self, old: &Self) -> bool {
        let last = |it: &Self| it.doubted.map_or(it.trusted, |it| it.last);
        let moved = last(self).duration_since(last(old)).abs();
        self.doubted.map(|it| it.since) != old.doubted.map(|it| it.since) || moved >= STEP
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        format!("{text}:00Z").parse().unwrap()
    }

    /// Whether the clock is doubted in each of these rounds.
    fn doubted(times: &[&str]) -> Vec<bool> {
        let mut rounds = Rounds::of(time(times[0]));
        let mut all = Vec::new();
        for text in times {
            let next = rounds.with(time(text), GAP_DAYS);
            all.push(next.jump().is_some());
            // What is not stored makes no difference.
            if next.differs_from(&rounds) {
                rounds = next;
            }
        }
        all
    }

    #[test]
    fn a_clock_that_jumps_is_doubted_until_it_was_steady_for_a_day() {
        for (times, expected) in [
            // In step, also a month apart, also set back a little.
            (
                &["2026-11-01T03:00", "2026-12-01T03:00", "2026-12-01T02:56"][..],
                &[false, false, false][..],
            ),
            // Ahead for one round, back again, and ahead again.
            (
                &[
                    "2026-11-05T03:00",
                    "2036-11-06T03:00",
                    "2026-11-06T03:00",
                    "2036-11-07T04:00",
                    "2026-11-07T03:00",
                ],
                &[false, true, false, true, false],
            ),
            // A machine that was off for half a year, with a round a night.
            (
                &[
                    "2026-01-01T03:00",
                    "2026-07-01T03:00",
                    "2026-07-01T15:00",
                    "2026-07-02T03:00",
                    "2026-07-03T03:00",
                ],
                &[false, true, true, false, false],
            ),
            // And with one every few minutes.
            (
                &[
                    "2026-01-01T03:00",
                    "2026-07-01T03:00",
                    "2026-07-01T03:05",
                    "2026-07-02T01:59",
                    "2026-07-02T02:00",
                ],
                &[false, true, true, true, false],
            ),
            // A machine whose clock begins anew with each start.
            (
                &["2026-11-05T03:00", "2000-01-01T00:00", "2026-11-05T04:00"],
                &[false, true, false],
            ),
            // Ahead so long that it was believed, and set right.
            (
                &[
                    "2026-11-05T03:00",
                    "2036-11-06T03:00",
                    "2036-11-07T03:00",
                    "2026-11-07T03:00",
                    "2026-11-08T03:00",
                ],
                &[false, true, false, true, false],
            ),
            // Two jumps: the day counts from the second on.
            (
                &[
                    "2026-11-05T03:00",
                    "2030-01-01T03:00",
                    "2036-01-02T03:00",
                    "2036-01-02T04:00",
                ],
                &[false, true, true, true],
            ),
        ] {
            assert_eq!(doubted(times), expected, "{times:?}");
        }
    }

    #[test]
    fn a_jump_is_told_in_days() {
        let jump = Jump::between(time("2026-11-05T03:00"), time("2036-11-06T04:00"), GAP_DAYS);
        assert_eq!(
            jump.unwrap().to_string(),
            "the clock went from 2026-11-05T03:00:00Z to 2036-11-06T04:00:00Z, 3654 days ahead"
        );
        assert!(Jump::between(time("2026-11-05T03:00"), time("2026-12-05T03:00"), 30).is_none());
        assert!(Jump::between(time("2026-11-05T03:00"), time("2026-11-05T02:00"), 30).is_some());
    }
}
