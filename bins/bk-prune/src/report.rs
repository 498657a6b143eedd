//! What was decided and done, as people and programs read it: a line or a row for each backup.
//!
//! Decides nothing and knows no catalog.

use std::collections::BTreeMap;

use anyhow::Result;
use bk_cli::listing::{self, Listed};
use bk_cli::{Cell, Column, Cut, Output, Tone};
use bk_schema::record::{Backup, Status};
use bk_store::Home;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::group;
use crate::policy::Policy;
use crate::retention::{Action, Decision};

const COLUMNS: [Column; 9] = [
    listing::ID,
    Column::left("CREATED").cut(Cut::Plain, 20),
    Column::left("GROUP").leaves(2),
    Column::right("SIZE").leaves(1),
    Column::left("DECISION"),
    Column::left("REASONS").cut(Cut::End, 12),
    Column::left("RULES").extra(),
    listing::SOURCE,
    listing::NAME,
];

/// Lines as they come; the table at the end group by group, the oldest first, so that it can be
/// held against a calendar.
pub(crate) struct Decisions<'a> {
    home: &'a Home,
    output: Output,
    policy: &'a Policy,
    rows: BTreeMap<Place, Vec<Cell>>,
}

/// Where a row stands in the table.
type Place = (String, Timestamp, i64);

impl<'a> Decisions<'a> {
    pub(crate) fn new(home: &'a Home, output: Output, policy: &'a Policy) -> Self {
        Self {
            home,
            output,
            policy,
            rows: BTreeMap::new(),
        }
    }

    pub(crate) fn is_table(&self) -> bool {
        self.output.is_table()
    }

    /// Adds one backup, with the line that it came by, and with the bytes that were freed where
    /// it was removed.
    pub(crate) fn add(
        &mut self,
        backup: Backup,
        line: Map<String, Value>,
        decision: &Decision,
        freed_bytes: Option<u64>,
    ) -> Result<()> {
        if self.output.is_table() {
            let group = group::label_of(&backup, &self.policy.group_by, &self.policy.here);
            let row = row(&backup, &group, decision, self.policy);
            self.rows.insert((group, backup.created_at, backup.id), row);
            return Ok(());
        }
        if self.output.is_closed() {
            return Ok(());
        }
        let freed = freed_bytes.map(|bytes| ("freed", bytes.into()));
        let mut told = Map::from_iter([("action".into(), serde_json::to_value(decision.action)?)]);
        told.extend(why(&backup, decision, self.policy));
        let own = std::iter::once(("decision", told.into())).chain(freed);
        let listed = Listed::stat(self.home, backup).with(own, line);
        self.output.line(&listed)?;
        self.output.flush()
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        let rows: Vec<_> = std::mem::take(&mut self.rows).into_values().collect();
        if !rows.is_empty() {
            self.output.table(&COLUMNS, &rows)?;
        }
        self.output.flush()
    }
}

/// Why it was decided so, as lines and the ledger tell it.
pub(crate) fn why(backup: &Backup, decision: &Decision, policy: &Policy) -> Map<String, Value> {
    let mut told = Map::from_iter([("reasons".into(), decision.reasons.clone().into())]);
    let rules = decision.rules(backup, policy);
    if !rules.is_empty() {
        told.insert("rules".into(), rules.into());
    }
    if backup.status == Status::Completed {
        let group = group::label_of(backup, &policy.group_by, &policy.here);
        told.insert("group".into(), group.into());
    }
    told
}

fn row(backup: &Backup, group: &str, decision: &Decision, policy: &Policy) -> Vec<Cell> {
    let created = backup.created_at.to_zoned(policy.zone.clone());
    let (word, tone) = match decision.action {
        Action::Keep => ("keep", Tone::Plain),
        Action::Remove => ("remove", Tone::Warn),
    };
    vec![
        backup.id.to_string().into(),
        created.strftime("%a %Y-%m-%d %H:%M:%S").to_string().into(),
        group.into(),
        listing::size(backup).into(),
        Cell::new(word, tone),
        decision.reasons.join(", ").into(),
        decision.rules(backup, policy).join("; ").into(),
        listing::source_cell(backup),
        backup.backup_name.as_str().into(),
    ]
}
