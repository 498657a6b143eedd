//! The ledger as it is read: what happened, to which backup, and how it went.
//!
//! Only reads; what adds to it is in the ledger module. Knows no record.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result};
use bk_schema::event::LedgerRow;
use bk_schema::lines::Identity;
use bk_schema::metadata::SHRUNK;
use duckdb::types::Value;
use jiff::Timestamp;
use thiserror::Error;

use crate::rows::{BadRow, Unknown};
use crate::session::{IDS, NAMES, Session, lists};

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
    /// Runs of this job, and what was done with a backup that it made.
    pub job: Option<String>,
    /// Of one of these backups, by the id, else by the name that it had; of all where it is empty.
    pub backups: Vec<Identity>,
    /// Written after this row.
    pub after_id: Option<i64>,
    /// Only so many, the newest: what comes after [`Session::before_newest`].
    pub limit: Option<usize>,
    /// Of those that are left, only so many, the oldest: a page, after which the next one begins.
    pub page: Option<usize>,
}

/// A row of the ledger that cannot be read. The others can.
#[derive(Debug, Clone, Error)]
#[error("row {id} of the ledger is damaged: {reason}")]
pub struct DamagedRow {
    /// The id of the row.
    pub id: i64,
    /// What is wrong with it.
    pub reason: String,
}

impl Session<'_> {
    /// Rows of the ledger, oldest first, each that is damaged as an error.
    ///
    /// # Errors
    /// Those of the query; a bad row is none.
    pub fn events(&self, wanted: &Wanted) -> Result<Vec<Result<LedgerRow, DamagedRow>>> {
        let (condition, values) = wanted.condition();
        let from = format!("(SELECT * FROM backup_events WHERE {condition})");
        let Some(count) = wanted.page else {
            return self.entries(&format!("{from} ORDER BY id"), values);
        };
        // The end of the page first: to sort ids alone takes no memory for all that is told.
        let end = format!("SELECT max(id) FROM (SELECT id FROM {from} ORDER BY id LIMIT {count})");
        let mut statement = self.connection.prepare(&end)?;
        let end = statement.query_row(duckdb::params_from_iter(&values), |row| row.get(0))?;
        match end {
            None::<i64> => Ok(Vec::new()),
            Some(end) => self.entries(&format!("{from} WHERE id <= {end} ORDER BY id"), values),
        }
    }

    /// Of an event whose details begin with what it was about (`{"job":"nightly"}`), the last row
    /// for each of those; a bad row is as none.
    ///
    /// # Errors
    /// As [`Session::events`].
    pub fn last_events(&self, event: &str) -> Result<Vec<LedgerRow>> {
        self.last_of_each(event, "true")
    }

    /// The same, of the rows that tell a success.
    ///
    /// # Errors
    /// As [`Session::events`].
    pub fn last_successes(&self, event: &str) -> Result<Vec<LedgerRow>> {
        self.last_of_each(event, "outcome = 'ok'")
    }

    fn last_of_each(&self, event: &str, condition: &str) -> Result<Vec<LedgerRow>> {
        // The beginning of an object whose first value is a string, which is JSON's own.
        let about = r#"regexp_extract(details, '^\{"[a-z]+":"(?:[^"\\]|\\.)*"')"#;
        let from = format!(
            "(SELECT * FROM backup_events WHERE id IN \
             (SELECT max(id) FROM backup_events WHERE event = ? AND {condition} GROUP BY {about})) \
             ORDER BY id"
        );
        let entries = self.entries(&from, vec![Value::Text(event.to_owned())])?;
        Ok(entries.into_iter().flatten().collect())
    }

    /// The ids of the backups that held much less than the one before, which somebody took as right.
    pub fn accepted(&self) -> Result<BTreeSet<i64>> {
        // Nothing but that takes the key away, and only bk-create writes it.
        let was_shrunk = format!("$.old.backup_metadata.{SHRUNK}");
        let sql = "SELECT DISTINCT backup_id FROM backup_events \
             WHERE event = 'set' AND outcome = 'ok' AND backup_id IS NOT NULL \
             AND CASE WHEN json_valid(details) THEN json_exists(details, ?) ELSE false END";
        self.rows(sql, [was_shrunk], |row| row.get(0))
    }

    fn entries(
        &self,
        from: &str,
        values: Vec<Value>,
    ) -> Result<Vec<Result<LedgerRow, DamagedRow>>> {
        let sql = format!(
            "SELECT id, epoch_us(happened_at), program, backup_id, backup_name, event, outcome, details \
             FROM {from}"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(duckdb::params_from_iter(values))?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.push(entry_from(row).map_err(|error| DamagedRow {
                id: row.get(0).unwrap_or_default(),
                reason: format!("{error:#}"),
            }));
        }
        Ok(entries)
    }

    /// The row before the newest ones that the limit asks for: all that are meant and come after
    /// it are those. `None` where there are no more than that.
    pub fn before_newest(&self, wanted: &Wanted) -> Result<Option<i64>> {
        let Some(limit) = wanted.limit else {
            return Ok(None);
        };
        let (condition, values) = wanted.condition();
        let sql = format!(
            "SELECT id FROM backup_events WHERE {condition} ORDER BY id DESC LIMIT 1 OFFSET {limit}"
        );
        let ids: Vec<_> = self.rows(&sql, duckdb::params_from_iter(values), |row| row.get(0))?;
        Ok(ids.into_iter().next())
    }

    /// Which backups each of these means, by their ids, also those that are gone: every one that
    /// ever had the name.
    ///
    /// # Errors
    /// Those of the queries. Each that neither the catalog nor the ledger knows, or whose id and
    /// name never belonged together, is an error of its own.
    pub fn histories(&self, wanted: &[Identity]) -> Result<Vec<Result<Vec<i64>>>> {
        let (ids, names) = lists(wanted);
        let sql = format!(
            "SELECT DISTINCT backup_id, backup_name FROM backup_events \
             WHERE backup_id IS NOT NULL AND backup_name IS NOT NULL \
             AND (backup_id IN {IDS} OR backup_name IN {NAMES})"
        );
        let pairs: Vec<(i64, String)> =
            self.rows(&sql, [ids, names], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (mut names_of, mut ids_of) = (HashMap::new(), HashMap::new());
        for (id, name) in pairs {
            ids_of.entry(name.clone()).or_insert_with(Vec::new).push(id);
            names_of.entry(id).or_insert_with(Vec::new).push(name);
        }
        let known = |one: &Identity| match (one.id, &one.name) {
            (Some(id), Some(name)) => names_of
                .get(&id)
                .filter(|names| names.contains(name))
                .map_or(Vec::new(), |_| vec![id]),
            (Some(id), None) => names_of.get(&id).map_or(Vec::new(), |_| vec![id]),
            (None, name) => {
                let ids = name.as_ref().and_then(|name| ids_of.get(name));
                ids.cloned().unwrap_or_default()
            }
        };
        let in_catalog = self.find(wanted)?.into_iter();
        let all = in_catalog.zip(wanted).map(|(found, one)| {
            let mut ids = known(one);
            match found {
                Ok(backup) => ids.push(backup.id),
                Err(error) => match error.downcast::<BadRow>() {
                    Ok(bad) => ids.push(bad.id),
                    Err(error) if ids.is_empty() => {
                        return Err(if error.is::<Unknown>() {
                            anyhow::anyhow!("{error}, nor was there one")
                        } else {
                            error
                        });
                    }
                    Err(_) => {}
                },
            }
            Ok(ids)
        });
        Ok(all.collect())
    }
}

/// The entry that a row holds.
fn entry_from(row: &duckdb::Row<'_>) -> Result<LedgerRow> {
    let details: String = row.get(7)?;
    Ok(LedgerRow {
        id: row.get(0)?,
        // DuckDB's infinity has no microseconds.
        happened_at: row
            .get::<_, Option<i64>>(1)?
            .and_then(|micros| Timestamp::from_microsecond(micros).ok())
            .context("its time is out of range")?,
        program: row.get(2)?,
        backup_id: row.get(3)?,
        backup_name: row.get(4)?,
        event: row.get(5)?,
        outcome: row.get(6)?,
        details: serde_json::from_str(&details)
            .ok()
            .context("its details are no JSON object")?,
    })
}

/// Which rows are of a job. The row of a run names its backup, also where that has been removed; the
/// record knows its job before the run is over.
fn of_job() -> String {
    let has_job = |column| {
        format!(
            "CASE WHEN json_valid({column}) THEN json_extract_string({column}, '$.job') END = ?"
        )
    };
    let (in_row, in_record) = (has_job("details"), has_job("backup_metadata"));
    format!(
        "({in_row} OR backup_id IN (SELECT backup_id FROM backup_events WHERE {in_row}) \
         OR backup_id IN (SELECT id FROM backup_records WHERE {in_record}))"
    )
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
        if let Some(job) = &self.job {
            add(of_job(), vec![Value::Text(job.clone()); 3]);
        }
        if !self.events.is_empty() {
            let events = vec![Value::Text(self.events.join("\n"))];
            add(format!("event IN {NAMES}"), events);
        }
        if !self.backups.is_empty() {
            let (ids, names) = lists(&self.backups);
            let term = format!("(backup_id IN {IDS} OR backup_name IN {NAMES})");
            add(term, vec![Value::Text(ids), Value::Text(names)]);
        }
        (terms.join(" AND "), values)
    }
}
