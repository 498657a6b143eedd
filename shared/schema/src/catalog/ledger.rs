//! The queries of `backup_events`, the ledger. Rows are only ever added.
//!
//! Knows no record but by its id and name.

use anyhow::Result;
use duckdb::types::Value;
use serde_json::Value as Json;

use super::Session;

/// Rows in one statement.
const CHUNK: usize = 1000;

/// A row of the ledger.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// Which backup, where there is one.
    pub backup: Option<(i64, &'a str)>,
    /// What happened: `create`, `recover`, ...
    pub event: &'a str,
    /// Whether it went well.
    pub ok: bool,
    /// A JSON object.
    pub details: Json,
}

impl Session<'_> {
    /// Adds a row to the ledger.
    ///
    /// # Errors
    /// Those of the query.
    pub fn log(&self, event: &Event<'_>) -> Result<()> {
        self.log_all(std::slice::from_ref(event))
    }

    /// Adds rows to the ledger, in their order.
    ///
    /// # Errors
    /// Those of the query.
    pub fn log_all(&self, events: &[Event<'_>]) -> Result<()> {
        for chunk in events.chunks(CHUNK) {
            let rows = vec!["(?, ?, ?, ?, ?, ?, ?)"; chunk.len()].join(", ");
            let sql = format!(
                "INSERT INTO backup_events SELECT nextval('event_id'), make_timestamp(happened), program, id, name, \
                 event, outcome, details FROM (VALUES {rows}) AS t(happened, program, id, name, event, outcome, details)"
            );
            let values = chunk.iter().flat_map(|event| self.values(event));
            self.connection
                .execute(&sql, duckdb::params_from_iter(values))?;
        }
        Ok(())
    }

    fn values(&self, event: &Event<'_>) -> [Value; 7] {
        let text = |text: &str| Value::Text(text.to_owned());
        let outcome = if event.ok { "ok" } else { "failed" };
        [
            Value::BigInt(self.home.now.as_microsecond()),
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
