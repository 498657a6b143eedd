//! What the rules keep of one group, and why: as restic does, whose words they are.
//!
//! Each rule is on its own and goes from the newest to the oldest. Knows no expiry, no
//! protection and no limit over several groups.

use std::collections::HashSet;
use std::rc::Rc;

use bk_cli::period::Period;
use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::policy::{Policy, Rule};

/// The times against which the rules measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    pub(crate) now: Timestamp,
    /// The newest backup of the group: a group whose backups stopped is not emptied by the time
    /// that goes by.
    pub(crate) newest: Timestamp,
}

/// Where a backup stands among those of its group that the rules count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rank {
    pub(crate) clock: Clock,
    /// Of all of them, newest first.
    pub(crate) times: Rc<[Timestamp]>,
    pub(crate) at: usize,
}

impl Rank {
    /// Why each rule does not keep it, where none does.
    pub(crate) fn losses(&self, policy: &Policy) -> Vec<String> {
        let loss = |rule: &Rule| format!("{}: {}", rule.text(), self.loss(policy, rule));
        policy.rules.iter().map(loss).collect()
    }

    fn loss(&self, policy: &Policy, rule: &Rule) -> String {
        let time = self.times[self.at];
        match rule {
            Rule::Count(None, _) => format!("number {} of {}", self.at + 1, self.times.len()),
            Rule::Count(Some(period), limit) => {
                let (label, is_newest) = self.label(policy, *period);
                match limit {
                    Some(limit) if is_newest => format!("{label} is before the last {limit}"),
                    _ => format!("not the newest of {label}"),
                }
            }
            Rule::Within(period, age) => {
                let begin = age.before(self.clock.newest, &policy.zone);
                match period {
                    Some(period) if time > begin => {
                        format!("not the newest of {}", self.label(policy, *period).0)
                    }
                    _ => format!("not after {}", policy.shown(begin)),
                }
            }
            Rule::NotOlder(age) => {
                let begin = age.before(self.clock.now, &policy.zone);
                format!("before {}", policy.shown(begin))
            }
        }
    }

    /// Its period, and whether it is the newest there.
    fn label(&self, policy: &Policy, period: Period) -> (String, bool) {
        let label = |time: &Timestamp| period.label(policy.zone.to_datetime(*time));
        let own = label(&self.times[self.at]);
        let newer = self.at.checked_sub(1).map(|at| label(&self.times[at]));
        let is_newest = newer.as_ref() != Some(&own);
        (own, is_newest)
    }
}

/// The reasons to keep each of the times, which come newest first; none where no rule keeps it.
pub(crate) fn reasons(policy: &Policy, clock: Clock, times: &[Timestamp]) -> Vec<Vec<String>> {
    let local = |time: &Timestamp| policy.zone.to_datetime(*time);
    let local: Vec<DateTime> = times.iter().map(local).collect();
    let mut all = vec![Vec::new(); times.len()];
    for rule in &policy.rules {
        match rule {
            Rule::Count(None, limit) => {
                let kept = all.iter_mut().take(limit.unwrap_or(usize::MAX));
                for (at, reasons) in kept.enumerate() {
                    reasons.push(format!("last {}", at + 1));
                }
            }
            Rule::Count(Some(period), limit) => {
                let limit = limit.unwrap_or(usize::MAX);
                newest_of_each(*period, limit, &local, true, |at, reason| {
                    all[at].push(reason);
                });
            }
            Rule::Within(period, age) => {
                let begin = age.before(clock.newest, &policy.zone);
                let count = times.iter().take_while(|time| **time > begin).count();
                let mut keep = |at: usize, reason: String| {
                    all[at].push(format!("{reason}within {}", age.text));
                };
                match period {
                    None => (0..count).for_each(|at| keep(at, String::new())),
                    Some(period) => {
                        let is_whole = count == times.len();
                        let within = &local[..count];
                        newest_of_each(*period, usize::MAX, within, is_whole, |at, reason| {
                            keep(at, reason + " ");
                        });
                    }
                }
            }
            Rule::NotOlder(age) => {
                let begin = age.before(clock.now, &policy.zone);
                let kept = times
                    .iter()
                    .zip(&mut all)
                    .filter(|(time, _)| **time >= begin);
                kept.for_each(|(_, it)| it.push(format!("not older than {}", age.text)));
            }
        }
    }
    all
}

/// Keeps the newest of each period, until so many are kept; and the oldest of all while there
/// is room, so that the history reaches as far back as it can from the first day on.
fn newest_of_each(
    period: Period,
    limit: usize,
    local: &[DateTime],
    ends_in_oldest: bool,
    mut keep: impl FnMut(usize, String),
) {
    let mut seen = HashSet::new();
    let mut room = limit;
    for (at, time) in local.iter().enumerate() {
        if room == 0 {
            break;
        }
        let label = period.label(*time);
        let is_newest = seen.insert(label.clone());
        let is_oldest = ends_in_oldest && at + 1 == local.len();
        if is_newest || is_oldest {
            let word = if is_newest { "" } else { "oldest " };
            keep(at, format!("{word}{} {label}", period.name()));
            room -= 1;
        }
    }
}
