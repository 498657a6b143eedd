//! The queries of `backup_records`.
//!
//! Knows the columns; what a session is, its parent tells.

use anyhow::{Result, ensure};
use duckdb::params;
use duckdb::types::Value;
use jiff::Timestamp;
use serde_json::Map;

use super::{IDS, NAMES, Session, id_list, lists};
use crate::lines::Identity;
use crate::record::{Backup, Status, check_name};
use crate::rows::{BadRow, backup_from, match_rows};

/// Columns of `backup_records` in their order, times as microseconds since 1970.
const COLUMNS: &str = "id, backup_name, backup_type, status, source_version, backup_path, backup_size, \
     file_count, compression_type, backup_hash, description, backup_metadata, protected, \
     epoch_us(created_at), epoch_us(expires_at)";

impl Session<'_> {
    /// Every backup, oldest first.
    ///
    /// # Errors
    /// Those of the query; a bad row is none.
    pub fn backups(&self) -> Result<Vec<Result<Backup, BadRow>>> {
        self.select("", &[])
    }

    /// The backups that are meant, in the order in which they are.
    ///
    /// # Errors
    /// Those of the query. Each that is unknown, damaged, or named otherwise than its id says
    /// is an error of its own.
    pub fn find(&self, wanted: &[Identity]) -> Result<Vec<Result<Backup>>> {
        let (ids, names) = lists(wanted);
        let mut rows = Vec::new();
        // In two queries: DuckDB passes over the rows that one of them does not ask for.
        if !ids.is_empty() {
            rows.extend(self.select(&format!("WHERE id IN {IDS}"), &[ids.into()])?);
        }
        if !names.is_empty() {
            let condition = format!("WHERE backup_name IN {NAMES}");
            rows.extend(self.select(&condition, &[names.into()])?);
        }
        Ok(match_rows(wanted, &rows))
    }

    fn select(&self, condition: &str, values: &[Value]) -> Result<Vec<Result<Backup, BadRow>>> {
        let sql =
            format!("SELECT {COLUMNS} FROM backup_records {condition} ORDER BY created_at, id");
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(duckdb::params_from_iter(values))?;
        let mut backups = Vec::new();
        while let Some(row) = rows.next()? {
            backups.push(backup_from(row).map_err(|error| BadRow {
                id: row.get(0).unwrap_or_default(),
                name: row.get(1).unwrap_or_default(),
                reason: format!("{error:#}"),
            }));
        }
        Ok(backups)
    }

    /// Adds a record and returns it with its id. The `id` that it comes with is not used.
    ///
    /// # Errors
    /// A record that breaks its rules, a name that is taken.
    pub fn insert(&self, backup: &Backup) -> Result<Backup> {
        let id: i64 = self
            .connection
            .query_row("SELECT nextval('backup_id')", [], |row| row.get(0))?;
        let backup = Backup {
            id,
            ..backup.clone()
        };
        backup.check()?;
        self.connection.execute(
            "INSERT INTO backup_records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, make_timestamp(?), make_timestamp(?))",
            params![
                backup.id, backup.backup_name, backup.backup_type.name(), backup.status.name(), backup.source_version,
                backup.backup_path, backup.backup_size, backup.file_count, backup.compression_type, backup.backup_hash,
                backup.description, json_text(&backup.backup_metadata), backup.protected,
                backup.created_at.as_microsecond(), backup.expires_at.map(Timestamp::as_microsecond)
            ],
        )?;
        Ok(backup)
    }

    /// Writes all of a record but its id, its name and its creation.
    ///
    /// # Errors
    /// A record that breaks its rules, or that is no longer there.
    pub fn update(&self, backup: &Backup) -> Result<()> {
        backup.check()?;
        let changed = self.connection.execute(
            "UPDATE backup_records SET backup_type = ?, status = ?, source_version = ?, backup_path = ?, \
             backup_size = ?, file_count = ?, compression_type = ?, backup_hash = ?, description = ?, \
             backup_metadata = ?, protected = ?, expires_at = make_timestamp(?) WHERE id = ?",
            params![
                backup.backup_type.name(), backup.status.name(), backup.source_version, backup.backup_path,
                backup.backup_size, backup.file_count, backup.compression_type, backup.backup_hash, backup.description,
                json_text(&backup.backup_metadata), backup.protected,
                backup.expires_at.map(Timestamp::as_microsecond), backup.id
            ],
        )?;
        ensure!(
            changed == 1,
            "the record {} was removed in the meantime",
            backup.id
        );
        Ok(())
    }

    /// The record of this name.
    ///
    /// # Errors
    /// Those of the query, and a record that breaks its rules.
    pub fn named(&self, name: &str) -> Result<Option<Backup>> {
        let rows = self.select("WHERE backup_name = ?", &[Value::from(name.to_owned())])?;
        Ok(rows.into_iter().next().transpose()?)
    }

    /// The records whose archive is at this path, or was: the path of one that is missing is
    /// taken too, as its removal would remove what is there.
    ///
    /// # Errors
    /// Those of the query; a bad row is none.
    pub fn at_path(&self, path: &str) -> Result<Vec<Result<Backup, BadRow>>> {
        self.select("WHERE backup_path = ?", &[Value::from(path.to_owned())])
    }

    /// Gives records a status, and leaves the rest of them as it is.
    ///
    /// # Errors
    /// Those of the query.
    pub fn set_status(&self, ids: &[i64], status: Status) -> Result<()> {
        if !ids.is_empty() {
            let sql = format!("UPDATE backup_records SET status = ? WHERE id IN {IDS}");
            self.connection
                .execute(&sql, params![status.name(), id_list(ids)])?;
        }
        Ok(())
    }

    /// Gives a record another name.
    ///
    /// # Errors
    /// A name that is taken or breaks the rules.
    pub fn rename(&self, id: i64, name: &str) -> Result<()> {
        check_name(name)?;
        ensure!(
            self.named(name)?.is_none_or(|it| it.id == id),
            "the name '{name}' is taken"
        );
        let sql = "UPDATE backup_records SET backup_name = ? WHERE id = ?";
        self.connection.execute(sql, params![name, id])?;
        Ok(())
    }

    /// Removes records. The ledger keeps their history.
    ///
    /// # Errors
    /// Those of the query.
    pub fn remove(&self, ids: &[i64]) -> Result<()> {
        if !ids.is_empty() {
            let sql = format!("DELETE FROM backup_records WHERE id IN {IDS}");
            self.connection.execute(&sql, params![id_list(ids)])?;
        }
        Ok(())
    }

    /// Every record of this status, oldest first.
    ///
    /// # Errors
    /// Those of the query; a bad row is none.
    pub(crate) fn with_status(&self, status: Status) -> Result<Vec<Result<Backup, BadRow>>> {
        let status = Value::from(status.name().to_owned());
        self.select("WHERE status = ?", &[status])
    }
}

fn json_text(object: &Map<String, serde_json::Value>) -> String {
    serde_json::Value::Object(object.clone()).to_string()
}
