//! Removes what was decided to go, judged again under the lock from the records as they are
//! then: never more than was decided at first.
//!
//! Decides nothing by itself: `retention` does, both times.

use std::cell::RefCell;
use std::collections::HashMap;

use anyhow::Result;
use bk_cli::notices::{Notices, Priority};
use bk_schema::record::Backup;
use bk_store::home::Home;
use bk_store::removal::{self, Removal};
use bk_store::session::Session;
use bk_store::signals::Signals;
use bk_store::storage;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::caps::FreeBytes;
use crate::flags::PROGRAM;
use crate::item::Item;
use crate::policy::Policy;
use crate::report::Decisions;
use crate::retention::{self, Action, Candidate, Decision};

/// A candidate as it was first judged.
struct Planned {
    item: Item,
    goes: bool,
    /// Those that were chosen are judged on with the others, as they were: what the first part
    /// removes is to make no room for the second.
    is_chosen: bool,
}

impl Planned {
    fn is_open(&self) -> bool {
        self.goes && !self.is_chosen
    }
}

/// What is to be removed.
pub(crate) struct Plan<'a> {
    policy: &'a Policy,
    /// What was free before.
    free: FreeBytes,
    now: Timestamp,
    all: Vec<Planned>,
    report: Decisions<'a>,
    notices: &'a mut Notices,
    done: Done,
}

/// What was removed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) count: usize,
    pub(crate) freed_bytes: u64,
    /// How many of them had no archive any more.
    pub(crate) missing_count: usize,
    /// The exit status that it means.
    pub(crate) status: u8,
}

/// What is told of a backup beside its record.
struct Why {
    line: Map<String, Value>,
    decision: Decision,
    is_missing: bool,
}

type Chosen = removal::Candidate<Why>;

impl<'a> Plan<'a> {
    /// The items come with what was decided at first.
    pub(crate) fn new(
        policy: &'a Policy,
        free: FreeBytes,
        now: Timestamp,
        items: impl Iterator<Item = (Item, Decision)>,
        report: Decisions<'a>,
        notices: &'a mut Notices,
    ) -> Self {
        let planned = |(item, decision): (Item, Decision)| Planned {
            item,
            goes: decision.action == Action::Remove,
            is_chosen: false,
        };
        Self {
            policy,
            free,
            now,
            all: items.map(planned).collect(),
            report,
            notices,
            done: Done::default(),
        }
    }

    /// Removes. Opens no catalog where nothing is to go.
    ///
    /// # Errors
    /// Those of the catalog and of the output.
    pub(crate) fn run(self, home: &Home, signals: &Signals) -> Result<Done> {
        if !self.all.iter().any(|it| it.goes) {
            return Ok(self.done);
        }
        let removal = Removal {
            home,
            event: "prune",
            keep_file: false,
            offline: false,
            signals,
        };
        let plan = RefCell::new(self);
        let removed = removal.run(
            |session, at_most| plan.borrow_mut().choose(session, at_most),
            |candidate, outcome| plan.borrow_mut().tell(home, candidate, outcome),
        );
        let mut plan = plan.into_inner();
        // The table, even where something went wrong on the way.
        let ended = plan.report.end();
        removed.and(ended)?;
        Ok(plan.done)
    }

    /// Of what was to go, that which still is.
    fn choose(&mut self, session: &Session<'_>, at_most: usize) -> Result<Vec<Chosen>> {
        if !self.all.iter().any(Planned::is_open) {
            return Ok(Vec::new());
        }
        self.refresh(session)?;
        let all: Vec<Candidate<'_>> = self.all.iter().map(|it| it.item.candidate()).collect();
        let verdict = retention::decide(&all, self.policy, &self.free, self.now);
        let goes = self.all.iter_mut().zip(verdict.decisions);
        let goes = goes.filter(|(it, decision)| it.is_open() && decision.action == Action::Remove);
        let choose = |(planned, decision): (&mut Planned, Decision)| {
            planned.is_chosen = true;
            candidate(&mut planned.item, decision)
        };
        Ok(goes.take(at_most).map(choose).collect())
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
            let item = &mut planned.item;
            let backup = current.remove(&item.backup.id);
            let Some(backup) = backup.filter(retention::is_candidate) else {
                return false;
            };
            planned.goes &= backup.backup_path == item.backup.backup_path;
            item.backup = backup;
            true
        });
        Ok(())
    }

    fn tell(&mut self, home: &Home, candidate: Chosen, outcome: Result<u64>) -> Result<()> {
        match outcome {
            Ok(freed_bytes) => {
                self.done.count += 1;
                self.done.freed_bytes += freed_bytes;
                let Why {
                    line,
                    decision,
                    is_missing,
                } = candidate.with;
                self.done.missing_count += usize::from(is_missing);
                let (name, id) = (&candidate.backup.backup_name, candidate.backup.id);
                let reasons = decision.reasons.join(", ");
                let text = format!("removed '{name}' (id {id}), {freed_bytes} bytes: {reasons}");
                self.notices.log(Priority::Ok, &text);
                self.report
                    .add(candidate.backup, line, &decision, Some(freed_bytes))
            }
            Err(error) => {
                self.done.status = bk_cli::SOME_FAILED;
                if let Some(unreachable) = storage::unreachable(&error) {
                    home.storages.tell_unreachable(unreachable);
                    return Ok(());
                }
                let name = candidate.backup.backup_name.escape_debug();
                let text = format!("cannot remove '{name}': {error:#}");
                PROGRAM.warn(&text);
                self.notices.log(Priority::Failed, &text);
                Ok(())
            }
        }
    }
}

fn candidate(item: &mut Item, decision: Decision) -> Chosen {
    let reasons = json!(decision.reasons);
    let is_missing = item.candidate().is_missing();
    removal::Candidate {
        backup: item.backup.clone(),
        details: Map::from_iter([("reasons".to_owned(), reasons)]),
        with: Why {
            line: std::mem::take(&mut item.line),
            decision,
            is_missing,
        },
    }
}
