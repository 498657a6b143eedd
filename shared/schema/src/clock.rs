//! What a wrong clock must not do: times that lie ahead of it are not believed, and one that
//! jumped is doubted until it has been steady for a day.
//!
//! Pure functions, but for the reading itself. Knows no catalog.

use jiff::{SignedDuration, Timestamp, Unit};
use serde::{Deserialize, Serialize};

use crate::record::{Backup, Status};

/// So far ahead of the clock a time may lie: clocks of machines differ.
const GRACE: SignedDuration = SignedDuration::from_mins(5);
/// Between what is done regularly passes no more time than this, unless a setting says so.
pub const GAP_DAYS: u32 = 30;
/// A clock that jumped is believed once it has been steady so long: one day, also the shortest.
pub const DAY: SignedDuration = SignedDuration::from_hours(23);
/// A round that is remembered stands for those of so long after it: not each is written down.
const STEP: SignedDuration = SignedDuration::from_hours(1);

/// A reading of the clock, as precise as the catalog keeps it.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Microsecond).unwrap_or(now)
}

/// The latest time that is believed.
#[must_use]
pub fn latest(now: Timestamp) -> Timestamp {
    now.checked_add(GRACE).unwrap_or(Timestamp::MAX)
}

/// Whether a time lies so far ahead that it, or the clock, is wrong: it counts as unknown.
#[must_use]
pub fn is_to_come(time: Timestamp, now: Timestamp) -> bool {
    time > latest(now)
}

/// What is to be said of completed backups whose time is not believed; `None` where there is none.
#[must_use]
pub fn warning<'a>(
    backups: impl IntoIterator<Item = &'a Backup>,
    now: Timestamp,
) -> Option<String> {
    let is_it = |it: &&Backup| it.status == Status::Completed && is_to_come(it.created_at, now);
    let mut all = backups.into_iter().filter(is_it);
    let first = all.next()?;
    let (name, time) = (first.backup_name.escape_debug(), first.created_at);
    Some(match all.count() {
        0 => format!(
            "warning: the backup '{name}' is from the future, of {time:.0}: its age counts as unknown"
        ),
        others => format!(
            "warning: {} backups are from the future, '{name}' of {time:.0} the first: their age counts as unknown; 'bk-ls --since 0s' lists them",
            others + 1
        ),
    })
}

/// A jump of the clock, or a machine that was off for long: nobody can tell which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// The last time that is believed.
    pub from: Timestamp,
    /// The first one that is not.
    pub to: Timestamp,
}

impl Jump {
    /// `None` where no more than so many days passed.
    #[must_use]
    pub fn between(from: Timestamp, to: Timestamp, gap_days: u32) -> Option<Self> {
        (!is_in_step(from, to, gap_days)).then_some(Self { from, to })
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

fn is_in_step(last: Timestamp, now: Timestamp, gap_days: u32) -> bool {
    let gap = SignedDuration::from_hours(i64::from(gap_days) * 24);
    !is_to_come(last, now) && now.duration_since(last) <= gap
}

/// The rounds of bk-auto, as it remembers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rounds {
    /// The last one whose clock was in step with those before.
    pub believed: Timestamp,
    /// Those since, whose clock was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubted: Option<Doubted>,
}

/// Rounds that are in step with each other, but not with those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubted {
    /// The first.
    pub since: Timestamp,
    /// The last.
    pub last: Timestamp,
}

impl Rounds {
    /// With one round more. A clock that comes back is believed at once, one that stays where it
    /// is, after a day.
    #[must_use]
    pub fn and(self, now: Timestamp, gap_days: u32) -> Self {
        if is_in_step(self.believed, now, gap_days) {
            return Self::of(now);
        }
        let before = self.doubted.filter(|it| is_in_step(it.last, now, gap_days));
        let since = before.map_or(now, |it| it.since);
        if now.duration_since(since) >= DAY {
            return Self::of(now);
        }
        let doubted = Some(Doubted { since, last: now });
        Self { doubted, ..self }
    }

    /// Of a first round.
    #[must_use]
    pub fn of(believed: Timestamp) -> Self {
        Self {
            believed,
            doubted: None,
        }
    }

    /// The jump for which the clock is doubted.
    #[must_use]
    pub fn jump(&self) -> Option<Jump> {
        let to = self.doubted?.since;
        let from = self.believed;
        Some(Jump { from, to })
    }

    /// Whether these need to be written down where those are.
    #[must_use]
    pub fn is_news_to(&self, old: &Self) -> bool {
        let last = |it: &Self| it.doubted.map_or(it.believed, |it| it.last);
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
            let next = rounds.and(time(text), GAP_DAYS);
            all.push(next.jump().is_some());
            // What is not written down makes no difference.
            if next.is_news_to(&rounds) {
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
