//! The queries of `backup_copies`, and the locations that the settings name.
//!
//! Knows a location by its name alone: where it is and how it is reached, the text of its setting
//! tells whoever copies.

use std::collections::HashMap;

use anyhow::{Context, Result};
use bk_schema::copy::{BackupCopy, CopyStatus, check_location};
use bk_schema::record::Backup;
use duckdb::types::Value;
use duckdb::{Row, params, params_from_iter};
use jiff::Timestamp;
use thiserror::Error;

use crate::rows::{BadRow, count};
use crate::session::{IDS, Session, id_list};

/// Columns of `backup_copies` in their order, times as microseconds since 1970.
const COLUMNS: &str = "backup_id, backup_name, location, object_key, version_id, size, hash, \
     recipients, storage_class, epoch_us(locked_until), status, parts_hash, \
     epoch_us(copied_at), epoch_us(checked_at)";
/// What the settings of locations begin with.
const LOCATION: &str = "location.";

/// A row that breaks the rules of a copy, named so that it does not hide the others.
#[derive(Debug, Clone, Error)]
#[error("the copy of {id} '{}' at '{}' in the catalog is damaged: {reason}", name.escape_debug(), location.escape_debug())]
pub struct BadCopy {
    /// Of the backup.
    pub id: i64,
    /// As far as it can be read.
    pub name: String,
    /// As far as it can be read.
    pub location: String,
    /// The rule that it breaks.
    pub reason: String,
}

impl Session<'_> {
    /// What is known of the copies of these backups, by location. The records carry the same.
    ///
    /// # Errors
    /// Those of the query; a bad row is none.
    pub fn copies_of(&self, ids: &[i64]) -> Result<Vec<Result<BackupCopy, BadCopy>>> {
        let condition = format!("WHERE backup_id IN {IDS} ORDER BY backup_id, location");
        self.copies(&condition, &[id_list(ids)])
    }

    /// All that is known to be at a location, also of backups whose record is gone, by backup.
    ///
    /// # Errors
    /// Those of the query; a bad row is none.
    pub fn copies_at(&self, location: &str) -> Result<Vec<Result<BackupCopy, BadCopy>>> {
        self.copies(
            "WHERE location = ? ORDER BY backup_id",
            &[location.to_owned()],
        )
    }

    /// The complete copies that are known at a location, as far as they can be read.
    ///
    /// # Errors
    /// Those of the query.
    pub fn complete_at(&self, location: &str) -> Result<Vec<BackupCopy>> {
        let all = self.copies_at(location)?.into_iter().flatten();
        Ok(all.filter(BackupCopy::is_complete).collect())
    }

    /// All that is known of copies, also of backups whose record is gone, in no order.
    ///
    /// # Errors
    /// Those of the query; a bad row is none.
    pub fn all_copies(&self) -> Result<Vec<Result<BackupCopy, BadCopy>>> {
        self.copies("", &[])
    }

    /// Records a copy that is begun, instead of what was known of the same backup there. One that has the time of an
    /// earlier one tells of an object that is there, though it is no copy.
    ///
    /// # Errors
    /// A copy that breaks its rules.
    pub fn begin_copy(&self, copy: &BackupCopy) -> Result<()> {
        let begun = BackupCopy {
            status: CopyStatus::Copying,
            checked_at: None,
            ..copy.clone()
        };
        self.put_copy(&begun, None)
    }

    /// Records a copy that is there, whole, with all that is known of it now, and the text of the
    /// record beside it; returns it as it is in the catalog.
    ///
    /// # Errors
    /// A copy that breaks its rules, as one without its size or hash does.
    pub fn complete_copy(&self, copy: &BackupCopy, record: &str) -> Result<BackupCopy> {
        // As the catalog stores it.
        let at = Timestamp::from_microsecond(self.at.as_microsecond())?;
        let copy = BackupCopy {
            status: CopyStatus::Complete,
            copied_at: Some(at),
            ..copy.clone()
        };
        self.put_copy(&copy, Some(record))?;
        Ok(copy)
    }

    /// Records a copy that a location tells of, with the text of the record beside it.
    ///
    /// # Errors
    /// A copy that breaks its rules.
    pub fn adopt_copy(&self, copy: &BackupCopy, record: &str) -> Result<()> {
        self.put_copy(copy, Some(record))
    }

    /// Records a copy as it was before something was begun with it that came to nothing.
    ///
    /// # Errors
    /// A copy that breaks its rules.
    pub fn restore_copy(&self, copy: &BackupCopy) -> Result<()> {
        self.put_copy(copy, None)
    }

    /// The texts of the records that lie beside the complete copies at a location, by backup, also of
    /// those whose record here is gone.
    pub fn held_at(&self, location: &str) -> Result<Vec<String>> {
        let sql = "SELECT record FROM backup_copies WHERE location = ? AND status = 'complete' \
             AND record IS NOT NULL ORDER BY backup_id";
        self.rows(sql, [location], |row| row.get(0))
    }

    /// Records that there are no whole copies of these backups at a location.
    pub fn fail_copies(&self, location: &str, ids: &[i64]) -> Result<()> {
        let set = "UPDATE backup_copies SET status = 'failed'";
        self.change(set, location, ids)
    }

    /// Records that these copies were found as they should be, now.
    pub fn checked_copies(&self, location: &str, ids: &[i64]) -> Result<()> {
        let at = self.at.as_microsecond();
        let set = format!("UPDATE backup_copies SET checked_at = make_timestamp({at})");
        self.change(&set, location, ids)
    }

    /// Takes away what is known of copies that are there no longer. The ledger keeps their history.
    pub fn forget_copies(&self, location: &str, ids: &[i64]) -> Result<()> {
        self.change("DELETE FROM backup_copies", location, ids)
    }

    fn change(&self, what: &str, location: &str, ids: &[i64]) -> Result<()> {
        let sql = format!("{what} WHERE location = ? AND backup_id IN {IDS}");
        self.connection
            .execute(&sql, params![location, id_list(ids)])?;
        Ok(())
    }

    /// Without a `record`, that of the row before stays.
    fn put_copy(&self, copy: &BackupCopy, record: Option<&str>) -> Result<()> {
        copy.check()?;
        let record = match record {
            Some(record) => Some(record.to_owned()),
            None => self.held(copy)?,
        };
        self.forget_copies(&copy.location, &[copy.backup_id])?;
        let record = record.map_or(Value::Null, Value::Text);
        self.connection.execute(
            "INSERT INTO backup_copies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, make_timestamp(?), ?, ?, make_timestamp(?), make_timestamp(?), ?)",
            params_from_iter(values(copy)?.into_iter().chain([record])),
        )?;
        Ok(())
    }

    fn held(&self, copy: &BackupCopy) -> Result<Option<String>> {
        let sql = "SELECT record FROM backup_copies WHERE location = ? AND backup_id = ?";
        let rows: Vec<Option<String>> =
            self.rows(sql, params![copy.location, copy.backup_id], |row| {
                row.get(0)
            })?;
        Ok(rows.into_iter().flatten().next())
    }

    fn copies(
        &self,
        condition: &str,
        parameters: &[String],
    ) -> Result<Vec<Result<BackupCopy, BadCopy>>> {
        let sql = format!("SELECT {COLUMNS} FROM backup_copies {condition}");
        self.rows(&sql, params_from_iter(parameters), |row| {
            Ok(copy_from(row).map_err(|error| BadCopy {
                id: row.get(0).unwrap_or_default(),
                name: row.get(1).unwrap_or_default(),
                location: row.get(2).unwrap_or_default(),
                reason: format!("{error:#}"),
            }))
        })
    }

    /// Gives records the copies that are known of them: of all records, or of a few.
    pub(crate) fn add_copies(
        &self,
        backups: &mut [Result<Backup, BadRow>],
        is_all: bool,
    ) -> Result<()> {
        let ids: Vec<_> = backups.iter().flatten().map(|it| it.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let copies = match is_all {
            true => self.all_copies()?,
            false => self.copies_of(&ids)?,
        };
        let mut by_id: HashMap<_, Vec<_>> = HashMap::new();
        for copy in copies {
            let id = copy.as_ref().map_or_else(|bad| bad.id, |it| it.backup_id);
            by_id.entry(id).or_default().push(copy);
        }
        if by_id.is_empty() {
            return Ok(());
        }
        for row in backups {
            let Ok(backup) = row else { continue };
            let Some(copies) = by_id.remove(&backup.id) else {
                continue;
            };
            match copies.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(mut copies) => {
                    copies.sort_by(|a, b| a.location.cmp(&b.location));
                    backup.copies = copies;
                }
                Err(bad) => *row = Err(with_bad_copy(backup, &bad)),
            }
        }
        Ok(())
    }

    /// The locations that the settings name, by name, each with its text.
    pub fn locations(&self) -> Result<Vec<(String, String)>> {
        let name = |(name, text): (String, String)| {
            let name = name.strip_prefix(LOCATION).unwrap_or_default();
            (name.to_owned(), text)
        };
        Ok(self.settings(LOCATION)?.into_iter().map(name).collect())
    }

    /// Names a location.
    ///
    /// # Errors
    /// A name that breaks the rules; a disk that is all but full.
    pub fn set_location(&self, name: &str, text: &str) -> Result<()> {
        check_location(name)?;
        self.check_room()?;
        self.set_setting(&format!("{LOCATION}{name}"), text)
    }

    /// Forgets the name of a location; what is known of copies there stays.
    pub fn unset_location(&self, name: &str) -> Result<()> {
        self.remove_setting(&format!("{LOCATION}{name}"))
    }
}

/// Without its copies a record would say that there are none.
fn with_bad_copy(backup: &Backup, bad: &BadCopy) -> BadRow {
    let location = bad.location.escape_debug();
    BadRow {
        id: backup.id,
        name: backup.backup_name.clone(),
        reason: format!("its copy at '{location}': {}", bad.reason),
    }
}

/// The values of the columns, in their order, but for the last.
fn values(copy: &BackupCopy) -> Result<[Value; 14]> {
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
    let time =
        |time: Option<Timestamp>| time.map_or(Value::Null, |it| Value::BigInt(it.as_microsecond()));
    Ok([
        Value::BigInt(copy.backup_id),
        Value::Text(copy.backup_name.clone()),
        Value::Text(copy.location.clone()),
        Value::Text(copy.object_key.clone()),
        text(&copy.version_id),
        copy.size.map_or(Value::Null, Value::UBigInt),
        text(&copy.hash),
        Value::Text(serde_json::to_string(&copy.recipients)?),
        text(&copy.storage_class),
        time(copy.locked_until),
        Value::Text(copy.status.name().to_owned()),
        text(&copy.parts_hash),
        time(copy.copied_at),
        time(copy.checked_at),
    ])
}

fn copy_from(row: &Row<'_>) -> Result<BackupCopy> {
    let time = |at: usize| {
        let micros: Option<i64> = row.get(at)?;
        let time = micros.map(Timestamp::from_microsecond).transpose();
        time.context("a time is out of range")
    };
    let copy = BackupCopy {
        backup_id: row.get(0)?,
        backup_name: row.get(1)?,
        location: row.get(2)?,
        object_key: row.get(3)?,
        version_id: row.get(4)?,
        size: count(row.get(5)?, "size")?,
        hash: row.get(6)?,
        recipients: serde_json::from_str(&row.get::<_, String>(7)?)
            .context("its recipients are no array of texts")?,
        storage_class: row.get(8)?,
        locked_until: time(9)?,
        status: CopyStatus::parse(&row.get::<_, String>(10)?)?,
        parts_hash: row.get(11)?,
        copied_at: time(12)?,
        checked_at: time(13)?,
    };
    copy.check()?;
    Ok(copy)
}
