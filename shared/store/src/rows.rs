//! Rows of `backup_records` as records, each checked on its way out, and matched with the
//! backups that were asked for.
//!
//! Knows the order of the columns; knows no SQL and no session.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use bk_schema::lines::Identity;
use bk_schema::record::{Backup, BackupType, Status};
use jiff::Timestamp;
use serde_json::{Map, Value};
use thiserror::Error;

/// A row that breaks the rules of the record, named so that it does not hide the others.
#[derive(Debug, Clone, Error)]
#[error("the record {id} '{name}' in the catalog is damaged: {reason}")]
pub struct BadRow {
    /// As far as it can be read.
    pub id: i64,
    /// As far as it can be read.
    pub name: String,
    /// The rule that it breaks.
    pub reason: String,
}

/// A backup that was asked for and is not in the catalog.
#[derive(Debug, Clone, Error)]
#[error("there is no backup {0}")]
pub struct Unknown(pub Identity);

/// A number that is not negative.
pub(crate) fn count(number: Option<i64>, what: &str) -> Result<Option<u64>> {
    let count = |number| u64::try_from(number).ok();
    let checked =
        number.map(|number| count(number).with_context(|| format!("its {what} is negative")));
    checked.transpose()
}

/// The record that a row holds.
pub(crate) fn backup_from(row: &duckdb::Row<'_>) -> Result<Backup> {
    let time = |micros: i64| Timestamp::from_microsecond(micros).context("a time is out of range");
    let metadata: Map<String, Value> = serde_json::from_str(&row.get::<_, String>(11)?)
        .context("its metadata is no JSON object")?;
    let backup = Backup {
        id: row.get(0)?,
        backup_name: row.get(1)?,
        backup_type: BackupType::parse(&row.get::<_, String>(2)?)?,
        status: Status::parse(&row.get::<_, String>(3)?)?,
        source_version: row.get(4)?,
        backup_path: row.get(5)?,
        backup_size: count(row.get(6)?, "size")?,
        file_count: count(row.get(7)?, "file count")?,
        compression_type: row.get(8)?,
        backup_hash: row.get(9)?,
        description: row.get(10)?,
        backup_metadata: metadata,
        protected: row.get(12)?,
        created_at: time(row.get(13)?)?,
        expires_at: row.get::<_, Option<i64>>(14)?.map(time).transpose()?,
        copies: Vec::new(),
    };
    backup.check()?;
    Ok(backup)
}

/// What was asked for, in its order, each that is unknown or damaged as an error of its own.
pub(crate) fn match_rows(
    wanted: &[Identity],
    rows: &[Result<Backup, BadRow>],
) -> Vec<Result<Backup>> {
    let key = |row: &Result<Backup, BadRow>| match row {
        Ok(backup) => (backup.id, backup.backup_name.clone()),
        Err(bad) => (bad.id, bad.name.clone()),
    };
    let mut by_id = HashMap::new();
    let mut by_name = HashMap::new();
    for row in rows {
        let (id, name) = key(row);
        by_id.insert(id, row);
        by_name.insert(name, row);
    }
    let found = |one: &Identity| {
        let row = match (one.id, &one.name) {
            (Some(id), _) => by_id.get(&id),
            (None, name) => name.as_ref().and_then(|name| by_name.get(name)),
        };
        let row = *row.ok_or_else(|| Unknown(one.clone()))?;
        let (id, name) = key(row);
        if let Some(given) = one.name.as_ref().filter(|given| **given != name) {
            bail!(
                "the backup {id} is named '{name}', not '{given}': the line is from another catalog"
            );
        }
        Ok(row.clone()?)
    };
    wanted.iter().map(found).collect()
}
