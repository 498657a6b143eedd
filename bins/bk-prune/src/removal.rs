//! Removes what was decided to go, decided again under the lock from the records as they are
//! then: never more than was decided at first.
//!
//! Decides nothing by itself: `retention` does, both times.

use std::collections::HashMap;

use anyhow::{Error, Result};
use bk_cli::notices::{Fields, Notices, Priority};
use bk_schema::record::Backup;
use bk_store::Session;
use bk_store::removal::{self, Removal, Remover};
use bk_store::storage::{self, Unreachable};
use serde_json::{Map, Value};

use crate::caps::FreeBytes;
use crate::flags::PROGRAM;
use crate::policy::Policy;
use crate::report::{self, Decisions};
use crate::retention::{self, Action, Archive, Candidate, Decision};

/// A backup that may be removed, with the line that it came by.
pub(crate) struct Given {
    pub(crate) backup: Backup,
    pub(crate) line: Map<String, Value>,
    pub(crate) archive: Option<Archive>,
    /// Why nobody can tell whether there is one.
    pub(crate) unreachable: Option<Unreachable>,
    /// Whether it was decided at first that it goes.
    pub(crate) goes: bool,
    /// What was chosen counts on with the others, as it was: what the first part removes is to make
    /// no room for the second.
    pub(crate) is_chosen: bool,
}

impl Given {
    pub(crate) fn candidate(&self) -> Candidate<'_> {
        Candidate {
            backup: &self.backup,
            archive: self.archive,
        }
    }

    fn is_open(&self) -> bool {
        self.goes && !self.is_chosen
    }
}

/// What is to be removed.
pub(crate) struct Plan<'a> {
    pub(crate) removal: Removal<'a>,
    pub(crate) policy: &'a Policy,
    /// What was free before.
    pub(crate) free: FreeBytes,
    pub(crate) all: Vec<Given>,
    pub(crate) report: Decisions<'a>,
    pub(crate) notices: &'a mut Notices,
    pub(crate) tally: Tally,
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

/// What is reported of a backup beside its record.
pub(crate) struct Why {
    line: Map<String, Value>,
    decision: Decision,
    is_missing: bool,
}

type Chosen = removal::Candidate<Why>;

impl Plan<'_> {
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
    /// was moved meanwhile was not inspected: its backup counts, but stays.
    fn refresh(&mut self, session: &Session<'_>) -> Result<()> {
        let rows = session.backups()?;
        let rows = rows.into_iter().flatten();
        let mut current: HashMap<i64, Backup> = rows.map(|it| (it.id, it)).collect();
        self.all.retain_mut(|given| {
            if given.is_chosen {
                return true;
            }
            let backup = current.remove(&given.backup.id);
            let Some(backup) = backup.filter(retention::is_candidate) else {
                return false;
            };
            given.goes &= backup.backup_path == given.backup.backup_path;
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
        let fields = Fields {
            reason: Some(&reasons),
            ..fields(&candidate.backup)
        };
        self.notices.log(Priority::Ok, &text, &fields);
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
        let reason = format!("{error:#}");
        let text = format!("cannot remove '{name}': {reason}");
        PROGRAM.warn(&text);
        let fields = Fields {
            reason: Some(&reason),
            ..fields(&candidate.backup)
        };
        self.notices.log(Priority::Failed, &text, &fields);
    }
}

impl Remover for Plan<'_> {
    type With = Why;

    /// Of what was to go, that which still is.
    fn choose(&mut self, session: &Session<'_>, at_most: usize) -> Result<Vec<Chosen>> {
        if !self.all.iter().any(Given::is_open) {
            return Ok(Vec::new());
        }
        self.refresh(session)?;
        let all: Vec<_> = self.all.iter().map(Given::candidate).collect();
        let verdict = retention::decide(&all, self.policy, &self.free, self.removal.home.now);
        let goes = self.all.iter_mut().zip(verdict.decisions);
        let goes = goes.filter(|(it, decision)| it.is_open() && decision.action == Action::Remove);
        let chosen = goes.map(|(it, decision)| choose(it, decision, self.policy));
        Ok(chosen.take(at_most).collect())
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

fn fields(backup: &Backup) -> Fields<'_> {
    Fields {
        job: backup.job(),
        backup: Some(&backup.backup_name),
        ..Fields::default()
    }
}

fn choose(given: &mut Given, decision: Decision, policy: &Policy) -> Chosen {
    given.is_chosen = true;
    let mut details = report::why(&given.backup, &decision, policy);
    if let Some(job) = given.backup.job() {
        details.insert("job".into(), job.into());
    }
    let is_missing = given.candidate().is_missing();
    removal::Candidate {
        backup: given.backup.clone(),
        details,
        with: Why {
            line: std::mem::take(&mut given.line),
            decision,
            is_missing,
        },
    }
}
