//! The ledger as it is read: what happened, to which backup, and how it went.
//!
//! Only reads; what adds to it is in the ledger module. Knows no record.

use anyhow::{Context, Result};
use duckdb::types::Value;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Map;

use super::Session;
use crate::lines::Identity;

/// One row of the ledger, keys in the order of the columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// From a sequence, so in the order in which they were written.
    pub id: i64,
    /// When the program began.
    pub happened_at: Timestamp,
    /// Which program.
    pub program: String,
    /// Which backup, where it was one's; it may be gone.
    pub backup_id: Option<i64>,
    /// The name that the backup had then.
    pub backup_name: Option<String>,
    /// `create`, `verify`, ...
    pub event: String,
    /// `ok` or `failed`.
    pub outcome: String,
    /// What the program told.
    pub details: Map<String, serde_json::Value>,
}

/// Which rows of the ledger; all that is not given is no condition.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// From then on.
    pub since: Option<Timestamp>,
    /// Before then.
    pub until: Option<Timestamp>,
    /// One of these events.
    pub events: Vec<String>,
    /// How it went.
    pub is_ok: Option<bool>,
    /// Of one of these backups, by the id or the name that it had.
    pub backups: Vec<Identity>,
    /// Written after this row.
    pub after_id: Option<i64>,
    /// Only so many, the newest.
    pub limit: Option<usize>,
}

impl Session<'_> {
    /// Rows of the ledger, oldest first.
    ///
    /// # Errors
    /// Those of the query, a row that is damaged.
    pub fn events(&self, wanted: &Wanted) -> Result<Vec<Entry>> {
        let (condition, values) = wanted.condition();
        let limit = wanted
            .limit
            .map_or(String::new(), |count| format!("LIMIT {count}"));
        let from =
            format!("(SELECT * FROM backup_events WHERE {condition} ORDER BY id DESC {limit})");
        self.entries(&from, values)
    }

    /// Of an event whose details begin with what it was about (`{"job":"nightly"`), the last row
    /// for each of those.
    ///
    /// # Errors
    /// As [`Session::events`].
    pub fn last_events(&self, event: &str) -> Result<Vec<Entry>> {
        // The beginning of an object whose first value is a string, which is JSON's own.
        let about = r#"regexp_extract(details, '^\{"[a-z]+":"(?:[^"\\]|\\.)*"')"#;
        let from = format!(
            "(SELECT * FROM backup_events WHERE id IN \
             (SELECT max(id) FROM backup_events WHERE event = ? GROUP BY {about}))"
        );
        self.entries(&from, vec![Value::Text(event.to_owned())])
    }

    fn entries(&self, from: &str, values: Vec<Value>) -> Result<Vec<Entry>> {
        let sql = format!(
            "SELECT id, epoch_us(happened_at), program, backup_id, backup_name, event, outcome, details \
             FROM {from} ORDER BY id"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(duckdb::params_from_iter(values))?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let damaged = || format!("the row {id} of the ledger is damaged");
            entries.push(Entry {
                id,
                happened_at: Timestamp::from_microsecond(row.get(1)?).with_context(damaged)?,
                program: row.get(2)?,
                backup_id: row.get(3)?,
                backup_name: row.get(4)?,
                event: row.get(5)?,
                outcome: row.get(6)?,
                details: serde_json::from_str(&row.get::<_, String>(7)?).with_context(damaged)?,
            });
        }
        Ok(entries)
    }
}

impl Session<'_> {
    /// When the first of all events happened; `None` of an empty ledger.
    ///
    /// # Errors
    /// Those of the query, a time that is out of range.
    pub fn ledger_since(&self) -> Result<Option<Timestamp>> {
        let sql = "SELECT epoch_us(min(happened_at)) FROM backup_events";
        let micros: Option<i64> = self.connection.query_row(sql, [], |row| row.get(0))?;
        let since = micros.map(Timestamp::from_microsecond).transpose();
        since.context("a time in the ledger is out of range")
    }
}

impl Wanted {
    fn condition(&self) -> (String, Vec<Value>) {
        let mut terms = vec!["true".to_owned()];
        let mut values = Vec::new();
        let mut add = |term: String, given: Vec<Value>| {
            terms.push(term);
            values.extend(given);
        };
        let micros = |time: Timestamp| vec![Value::BigInt(time.as_microsecond())];
        if let Some(since) = self.since {
            add("happened_at >= make_timestamp(?)".into(), micros(since));
        }
        if let Some(until) = self.until {
            add("happened_at < make_timestamp(?)".into(), micros(until));
        }
        if let Some(after) = self.after_id {
            add("id > ?".into(), vec![Value::BigInt(after)]);
        }
        if let Some(is_ok) = self.is_ok {
            add(format!("(outcome = 'ok') = {is_ok}"), Vec::new());
        }
        if !self.events.is_empty() {
            let events = self.events.iter().cloned().map(Value::Text).collect();
            add(any("event = ?", self.events.len()), events);
        }
        if !self.backups.is_empty() {
            let is_it = |one: &Identity| match (one.id, &one.name) {
                (Some(id), _) => ("backup_id = ?", Value::BigInt(id)),
                (None, name) => (
                    "backup_name = ?",
                    Value::Text(name.clone().unwrap_or_default()),
                ),
            };
            let (terms, backups): (Vec<_>, Vec<_>) = self.backups.iter().map(is_it).unzip();
            add(format!("({})", terms.join(" OR ")), backups);
        }
        (terms.join(" AND "), values)
    }
}

fn any(term: &str, count: usize) -> String {
    format!("({})", vec![term; count].join(" OR "))
}
