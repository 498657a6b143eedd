//! Removes what was decided to go, decided again under the lock from the records as they are
//! then: never more than was decided at first.
//!
//! Decides nothing by itself: `retention` does, both times.

use std::collections::HashMap;

use anyhow::{Error, Result};
use bk_cli::notices::{Notices, Priority};
use bk_schema::record::Backup;
use bk_store::removal::{self, Removal, Remover};
use bk_store::session::Session;
use bk_store::storage;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::caps::FreeBytes;
use crate::flags::PROGRAM;
use crate::given::Given;
use crate::policy::Policy;
use crate::report::Decisions;
use crate::retention::{self, Action, Candidate, Decision};

/// A candidate, and what was decided of it at first.
struct Planned {
    given: Given,
    goes: bool,
    /// What was chosen counts on with the others, as it was: what the first part removes is to make
    /// no room for the second.
    is_chosen: bool,
}

impl Planned {
    fn is_open(&self) -> bool {
        self.goes && !self.is_chosen
    }
}

/// What is to be removed.
pub(crate) struct Plan<'a> {
    removal: Removal<'a>,
    policy: &'a Policy,
    /// What was free before.
    free: FreeBytes,
    now: Timestamp,
    all: Vec<Planned>,
    report: Decisions<'a>,
    notices: &'a mut Notices,
    tally: Tally,
}

/// What was removed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) count: usize,
    pub(crate) freed_bytes: u64,
    /// How many of them had no archive any more.
    pub(crate) missing_count: usize,
    /// The exit status that it means.
    pub(crate) status: u8,
}

/// What is told of a backup beside its record.
pub(crate) struct Why {
    line: Map<String, Value>,
    decision: Decision,
    is_missing: bool,
}

type Chosen = removal::Candidate<Why>;

impl<'a> Plan<'a> {
    /// The candidates come with what was decided at first.
    pub(crate) fn new(
        removal: Removal<'a>,
        policy: &'a Policy,
        free: FreeBytes,
        now: Timestamp,
        given: impl Iterator<Item = (Given, Decision)>,
        report: Decisions<'a>,
        notices: &'a mut Notices,
    ) -> Self {
        let planned = |(given, decision): (Given, Decision)| Planned {
            given,
            goes: decision.action == Action::Remove,
            is_chosen: false,
        };
        Self {
            removal,
            policy,
            free,
            now,
            all: given.map(planned).collect(),
            report,
            notices,
            tally: Tally::default(),
        }
    }

    /// Removes. Opens no catalog where nothing is to go.
    pub(crate) fn run(mut self) -> Result<Tally> {
        if !self.all.iter().any(|it| it.goes) {
            return Ok(self.tally);
        }
        let removal = self.removal;
        let removed = removal.run(&mut self);
        // The table, even where something went wrong on the way.
        let ended = self.report.end();
        removed.and(ended)?;
        Ok(self.tally)
    }

    /// The records as they are now, less those that others removed or work on. An archive that
    /// was moved meanwhile is where nobody looked: its backup counts, but stays.
    fn refresh(&mut self, session: &Session<'_>) -> Result<()> {
        let rows = session.backups()?;
        let rows = rows.into_iter().flatten();
        let mut current: HashMap<i64, Backup> = rows.map(|it| (it.id, it)).collect();
        self.all.retain_mut(|planned| {
            if planned.is_chosen {
                return true;
            }
            let given = &mut planned.given;
            let backup = current.remove(&given.backup.id);
            let Some(backup) = backup.filter(retention::is_candidate) else {
                return false;
            };
            planned.goes &= backup.backup_path == given.backup.backup_path;
            given.backup = backup;
            true
        });
        Ok(())
    }

    fn add(&mut self, candidate: Chosen, freed_bytes: u64) -> Result<()> {
        let Why {
            line,
            decision,
            is_missing,
        } = candidate.with;
        self.tally.count += 1;
        self.tally.freed_bytes += freed_bytes;
        self.tally.missing_count += usize::from(is_missing);
        let (name, id) = (&candidate.backup.backup_name, candidate.backup.id);
        let reasons = decision.reasons.join(", ");
        let text = format!("removed '{name}' (id {id}), {freed_bytes} bytes: {reasons}");
        self.notices.log(Priority::Ok, &text);
        self.report
            .add(candidate.backup, line, &decision, Some(freed_bytes))
    }

    fn fail(&mut self, candidate: &Chosen, error: &Error) {
        self.tally.status = bk_cli::SOME_FAILED;
        if let Some(unreachable) = storage::unreachable(error) {
            self.removal.home.storages.tell_unreachable(unreachable);
            return;
        }
        let name = candidate.backup.backup_name.escape_debug();
        let text = format!("cannot remove '{name}': {error:#}");
        PROGRAM.warn(&text);
        self.notices.log(Priority::Failed, &text);
    }
}

impl Remover for Plan<'_> {
    type With = Why;

    /// Of what was to go, that which still is.
    fn choose(&mut self, session: &Session<'_>, at_most: usize) -> Result<Vec<Chosen>> {
        if !self.all.iter().any(Planned::is_open) {
            return Ok(Vec::new());
        }
        self.refresh(session)?;
        let all: Vec<Candidate<'_>> = self.all.iter().map(|it| it.given.candidate()).collect();
        let verdict = retention::decide(&all, self.policy, &self.free, self.now);
        let goes = self.all.iter_mut().zip(verdict.decisions);
        let goes = goes.filter(|(it, decision)| it.is_open() && decision.action == Action::Remove);
        let choose = |(planned, decision): (&mut Planned, Decision)| {
            planned.is_chosen = true;
            candidate(&mut planned.given, decision)
        };
        Ok(goes.take(at_most).map(choose).collect())
    }

    fn tell(&mut self, candidate: Chosen, outcome: Result<u64>) -> Result<()> {
        match outcome {
            Ok(freed_bytes) => self.add(candidate, freed_bytes),
            Err(error) => {
                self.fail(&candidate, &error);
                Ok(())
            }
        }
    }
}

fn candidate(given: &mut Given, decision: Decision) -> Chosen {
    let reasons = json!(decision.reasons);
    let is_missing = given.candidate().is_missing();
    removal::Candidate {
        backup: given.backup.clone(),
        details: Map::from_iter([("reasons".to_owned(), reasons)]),
        with: Why {
            line: std::mem::take(&mut given.line),
            decision,
            is_missing,
        },
    }
}
