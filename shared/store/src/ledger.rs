//! The queries of `backup_events`, the ledger. Rows are only ever added.
//!
//! Knows no record but by its id and name.

use std::collections::HashMap;

use anyhow::{Context, Result};
use bk_schema::event::Event;
use bk_schema::lines::Identity;
use duckdb::types::{TimeUnit, Value};
use jiff::Timestamp;
use thiserror::Error;

use crate::session::{IDS, NAMES, Session, lists};

/// The removal of a backup, from the ledger.
#[derive(Debug, Clone, Error)]
#[error("backup {id} '{}' is gone: {program} removed it at {at}", name.escape_debug())]
pub struct Removed {
    /// The id that it had.
    pub id: i64,
    /// The name that it had.
    pub name: String,
    /// Which program removed it.
    pub program: String,
    /// When.
    pub at: Timestamp,
}

impl Session<'_> {
    /// The last removal of each that is not in the catalog; `None` of one that the ledger does
    /// not know. By its id where that is given.
    pub fn removals(&self, wanted: &[Identity]) -> Result<Vec<Option<Removed>>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let (mut by_id, mut by_name) = (HashMap::new(), HashMap::new());
        let (ids, names) = lists(wanted);
        // Of the recoveries, only the end of a removal takes a row away.
        let sql = format!(
            "SELECT backup_id, backup_name, program, epoch_us(happened_at) FROM backup_events \
             WHERE outcome = 'ok' AND backup_id IS NOT NULL AND backup_name IS NOT NULL \
             AND (event IN ('remove', 'prune') OR event = 'recover' AND details LIKE '%\"status\":\"deleting\"%') \
             AND (backup_id IN {IDS} OR backup_name IN {NAMES}) ORDER BY id"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([ids, names])?;
        while let Some(row) = rows.next()? {
            let at = Timestamp::from_microsecond(row.get(3)?);
            let removed = Removed {
                id: row.get(0)?,
                name: row.get(1)?,
                program: row.get(2)?,
                at: at.context("a time in the ledger is out of range")?,
            };
            by_name.insert(removed.name.clone(), removed.clone());
            by_id.insert(removed.id, removed);
        }
        let removed = |one: &Identity| match (one.id, &one.name) {
            (Some(id), _) => by_id.get(&id).cloned(),
            (None, name) => by_name.get(name.as_ref()?).cloned(),
        };
        Ok(wanted.iter().map(removed).collect())
    }

    /// Adds a row to the ledger.
    pub fn log(&self, event: &Event<'_>) -> Result<()> {
        self.log_all(std::slice::from_ref(event))
    }

    /// Adds rows to the ledger, in their order.
    pub fn log_all(&self, events: &[Event<'_>]) -> Result<()> {
        let sql = "SELECT nextval('event_id') FROM range(?)";
        let ids: Vec<i64> = self.rows(sql, [i64::try_from(events.len())?], |row| row.get(0))?;
        let mut rows = self.connection.appender("backup_events")?;
        for (id, event) in ids.into_iter().zip(events) {
            rows.append_row(duckdb::appender_params_from_iter(self.values(id, event)))?;
        }
        Ok(rows.flush()?)
    }

    fn values(&self, id: i64, event: &Event<'_>) -> [Value; 8] {
        let text = |text: &str| Value::Text(text.to_owned());
        let outcome = if event.ok { "ok" } else { "failed" };
        [
            Value::BigInt(id),
            Value::Timestamp(TimeUnit::Microsecond, self.at.as_microsecond()),
            text(self.home.program),
            event
                .backup
                .map_or(Value::Null, |(id, _)| Value::BigInt(id)),
            event.backup.map_or(Value::Null, |(_, name)| text(name)),
            text(event.event),
            text(outcome),
            Value::Text(event.details.to_string()),
        ]
    }
}
