//! What becomes of each backup: a pure function of records, policy and `now`, and of where their
//! archives are and what is free there.
//!
//! The precedence: protected is always kept, and so is what has no copy where one is required; else an `expires_at` decides (past: removed,
//! future: kept); else the rules decide; the newest completed backup of a group is never removed
//! unless `--allow-empty`, nor is the newest one that lacks nothing of its sources. Where the newest
//! shrank, neither rules nor limits remove anything of its group. One from the
//! future is of unknown age: it stays, and stands in for no other. Knows no SQL, no clock and no
//! files.

use std::collections::BTreeMap;
use std::rc::Rc;

use bk_cli::copies;
use bk_schema::copy::BackupCopy;
use bk_schema::metadata::SHRUNK;
use bk_schema::record::{Backup, Status};
use bk_schema::verified::LastVerified;
use bk_schema::{clock, losses};
use jiff::Timestamp;
use serde::Serialize;

use crate::caps::{self, FreeBytes, Weight};
use crate::group;
use crate::policy::{Caps, Policy};
use crate::rules::{self, Clock, Rank};

/// A backup on which the policy is to decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) backup: &'a Backup,
    /// The archive on the disk; `None` where there is none.
    pub(crate) archive: Option<Archive>,
}

impl Candidate<'_> {
    /// Whether it should have an archive and has none.
    pub(crate) fn is_missing(&self) -> bool {
        self.backup.status == Status::Completed && self.archive.is_none()
    }
}

/// What is known of an archive without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Archive {
    /// The number of its file system.
    pub(crate) file_system: u64,
    /// What it takes there.
    pub(crate) disk_bytes: u64,
}

/// What becomes of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) action: Action,
    /// Every one there is for it.
    pub(crate) reasons: Vec<String>,
    /// Why rules would keep what a limit removes.
    overruled: Vec<String>,
    /// Told rule by rule only of what is told at all: the most is decided on more than once.
    rank: Option<Rank>,
}

impl Decision {
    /// What each rule has to do with it that a backup is removed; nothing where the rules were not
    /// asked.
    pub(crate) fn rules(&self, backup: &Backup, policy: &Policy) -> Vec<String> {
        if self.action == Action::Keep {
            return Vec::new();
        }
        let is_asked = !policy.rules.is_empty();
        let mut told = match self.rank.as_ref().filter(|_| is_asked) {
            None => Vec::new(),
            Some(rank) if self.overruled.is_empty() => rank.losses(policy),
            Some(_) => {
                let overruled = self.overruled.iter();
                overruled.map(|it| format!("would keep {it}")).collect()
            }
        };
        let required = |copy: &&BackupCopy| policy.require_copy.contains(&copy.location);
        let required = backup.copies.iter().filter(required);
        told.extend(required.filter_map(|copy| {
            let copied = policy.shown(copy.copied_at?);
            Some(format!("require-copy {}: copied {copied}", copy.location))
        }));
        told
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Keep,
    Remove,
}

/// The decisions, in the order of the candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) decisions: Vec<Decision>,
    /// Limits that cannot be kept, as what is left may not be removed.
    pub(crate) unmet: Vec<String>,
    /// Newest backups that shrank, for which something stays that no rule keeps.
    pub(crate) shrunk: Vec<String>,
}

/// Whether the policy decides on such a backup: not on one that is being worked on.
pub(crate) fn is_candidate(backup: &Backup) -> bool {
    matches!(backup.status, Status::Completed | Status::Failed)
}

/// Decides on all.
///
/// A completed backup whose archive is missing takes no place from one whose archive is there:
/// those are decided on without it, and it is decided on by all but the limits as if its archive
/// were there.
pub(crate) fn decide(
    all: &[Candidate<'_>],
    policy: &Policy,
    free: &FreeBytes,
    now: Timestamp,
) -> Verdict {
    let there: Vec<_> = all.iter().filter(|it| !it.is_missing()).copied().collect();
    let decide = |some: &[Candidate<'_>], caps| Decider::new(some, policy, now).run(caps, free);
    let mut verdict = decide(&there, &policy.caps);
    if there.len() == all.len() {
        return verdict;
    }
    let with_missing = decide(all, &Caps::default());
    let mut with_archive = verdict.decisions.into_iter();
    let pick = |(it, decision): (&Candidate<'_>, Decision)| match it.is_missing() {
        true => decision,
        false => with_archive.next().unwrap_or(decision),
    };
    verdict.decisions = all.iter().zip(with_missing.decisions).map(pick).collect();
    verdict
}

/// A candidate on its way.
struct Undecided<'a> {
    /// Which of the candidates it is.
    place: usize,
    it: Candidate<'a>,
    keep: Vec<String>,
    /// Counts where there is no reason to keep it.
    remove: Vec<String>,
    overruled: Vec<String>,
    /// Where the rules were asked.
    rank: Option<Rank>,
    /// Whether a limit may remove it though a rule keeps it.
    may_go: bool,
}

impl From<Undecided<'_>> for Decision {
    fn from(undecided: Undecided<'_>) -> Self {
        let (action, reasons) = if undecided.keep.is_empty() {
            (Action::Remove, undecided.remove)
        } else {
            (Action::Keep, undecided.keep)
        };
        Self {
            action,
            reasons,
            overruled: undecided.overruled,
            rank: undecided.rank,
        }
    }
}

struct Decider<'a> {
    /// The oldest first.
    all: Vec<Undecided<'a>>,
    policy: &'a Policy,
    now: Timestamp,
    /// As in the verdict.
    shrunk: Vec<String>,
}

impl<'a> Decider<'a> {
    fn new(all: &[Candidate<'a>], policy: &'a Policy, now: Timestamp) -> Self {
        let undecided = |(place, it): (usize, &Candidate<'a>)| Undecided {
            place,
            it: *it,
            keep: Vec::new(),
            remove: Vec::new(),
            overruled: Vec::new(),
            rank: None,
            may_go: false,
        };
        let mut all: Vec<_> = all.iter().enumerate().map(undecided).collect();
        all.sort_by_key(|one| (one.it.backup.created_at, one.it.backup.id));
        Self {
            all,
            policy,
            now,
            shrunk: Vec::new(),
        }
    }

    fn run(mut self, caps: &Caps, free: &FreeBytes) -> Verdict {
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for at in (0..self.all.len()).rev() {
            let backup = self.backup(at);
            if backup.status == Status::Completed {
                let group = group::id_of(backup, &self.policy.group_by, &self.policy.here);
                groups.entry(group).or_default().push(at);
            } else {
                self.decide_failed(at);
            }
        }
        for members in groups.values() {
            self.decide_group(members);
            self.hold_back(members);
        }
        let unmet = self.apply_caps(caps, free);
        self.all.sort_by_key(|one| one.place);
        let decisions = self.all.into_iter().map(Decision::from).collect();
        Verdict {
            decisions,
            unmet,
            shrunk: self.shrunk,
        }
    }

    fn backup(&self, at: usize) -> &'a Backup {
        self.all[at].it.backup
    }

    fn decide_failed(&mut self, at: usize) {
        let age = &self.policy.failed_after;
        let begin = age.before(self.now, &self.policy.zone);
        let one = &mut self.all[at];
        if one.it.backup.protected {
            one.keep.push("protected".to_owned());
        } else if one.it.backup.created_at >= begin {
            let reason = format!("failed, not older than {}", age.text);
            one.keep.push(reason);
        } else {
            one.remove.push(format!("failed, older than {}", age.text));
        }
    }

    /// The members come newest first.
    fn decide_group(&mut self, members: &[usize]) {
        for at in members {
            self.decide_before_rules(*at);
        }
        // What is of unknown age stands in for nothing whose age is known.
        let is_past = |at: &&usize| !self.is_in_future(**at);
        let all = members;
        let members: Vec<_> = all.iter().filter(is_past).copied().collect();
        // Nor does what has a time of its own to go for what would stay.
        let ruled = |at: &&usize| self.backup(**at).expires_at.is_none();
        let ruled: Vec<_> = members.iter().filter(ruled).copied().collect();
        let created = |at: &usize| self.backup(*at).created_at;
        let clock = Clock {
            now: self.now,
            newest: members.first().map_or(self.now, created),
        };
        let times: Rc<[_]> = ruled.iter().map(created).collect();
        let reasons = rules::reasons(self.policy, clock, &times);
        for (rank, (at, reasons)) in ruled.iter().zip(reasons).enumerate() {
            self.all[*at].keep.extend(reasons);
            self.all[*at].rank = Some(Rank {
                clock,
                times: times.clone(),
                at: rank,
            });
        }
        let newest = members.first().or(all.first());
        let Some(newest) = newest.filter(|_| !self.policy.allow_empty) else {
            return;
        };
        self.keep_always(*newest, "newest in group");
        // What has no file at all may be of a place where nothing was mounted.
        let is_whole = |at: &&usize| {
            let backup = self.backup(**at);
            !LastVerified::is_bad(backup)
                && losses::count(backup) == 0
                && !backup.backup_metadata.contains_key(SHRUNK)
                && backup.file_count.is_some_and(|count| count > 0)
        };
        if let Some(whole) = members.iter().find(is_whole).filter(|it| *it != newest) {
            self.keep_always(*whole, "newest that lacks nothing");
        }
    }

    /// Removes nothing by rules or limits while the newest of those that stay shrank: what came before
    /// it may be all that is whole. The members come newest first.
    fn hold_back(&mut self, members: &[usize]) {
        let stays = |at: &&usize| {
            let one = &self.all[**at];
            (one.may_go || !one.keep.is_empty()) && !self.is_in_future(**at)
        };
        let newest = members.iter().find(stays).map(|at| self.backup(*at));
        let Some(newest) = newest.filter(|it| it.backup_metadata.contains_key(SHRUNK)) else {
            return;
        };
        let mut holds = false;
        for at in members {
            let one = &mut self.all[*at];
            if one.may_go {
                holds |= one.keep.is_empty();
                one.keep.push("newest shrank".to_owned());
                one.may_go = false;
            }
        }
        if holds {
            self.shrunk.push(newest.backup_name.clone());
        }
    }

    /// Keeps one, whatever limits say.
    fn keep_always(&mut self, at: usize, reason: &str) {
        self.all[at].keep.push(reason.to_owned());
        self.all[at].may_go = false;
    }

    fn is_in_future(&self, at: usize) -> bool {
        clock::is_in_future(self.backup(at).created_at, self.now)
    }

    fn decide_before_rules(&mut self, at: usize) {
        let shown = |time| self.policy.shown(time);
        let one = &mut self.all[at];
        let backup = one.it.backup;
        let lacking = copies::lacking(backup, &self.policy.require_copy);
        let lacking: Vec<_> = lacking.map(|it| format!("no copy at {it}")).collect();
        match backup.expires_at {
            _ if backup.protected => one.keep.push("protected".to_owned()),
            Some(time) if time <= self.now => one.remove.push(format!("expired {}", shown(time))),
            Some(time) => one.keep.push(format!("expires {}", shown(time))),
            None if clock::is_in_future(backup.created_at, self.now) => {
                one.keep.push("from the future".to_owned());
            }
            None => {
                one.may_go = true;
                if self.policy.rules.is_empty() {
                    one.keep.push("no expiry".to_owned());
                } else {
                    one.remove.push(self.policy.reason_to_remove());
                }
            }
        }
        one.may_go &= lacking.is_empty();
        one.keep.extend(lacking);
    }

    fn apply_caps(&mut self, caps: &Caps, free: &FreeBytes) -> Vec<String> {
        let completed: Vec<_> = (0..self.all.len())
            .filter(|at| self.backup(*at).status == Status::Completed && !self.is_in_future(*at))
            .collect();
        let weight = |one: &Undecided<'_>| Weight {
            size_bytes: one.it.backup.backup_size.unwrap_or_default(),
            on_disk: one.it.archive.map(|it| (it.file_system, it.disk_bytes)),
            is_kept: !one.keep.is_empty(),
            may_go: one.may_go,
        };
        let weights: Vec<_> = completed.iter().map(|at| weight(&self.all[*at])).collect();
        let (gone, unmet) = caps::apply(caps, &weights, free);
        for (at, name) in gone {
            let at = completed[at];
            let one = &mut self.all[at];
            one.remove = vec![name];
            one.overruled = std::mem::take(&mut one.keep);
        }
        unmet
    }
}
