//! The edit that the flags ask for, and its effect on a record: pure functions.
//!
//! Knows no catalog.

use anyhow::{Result, bail, ensure};
use bk_cli::{Arguments, UsageError, units, usage};
use bk_schema::lines::LINE_MAX_BYTES;
use bk_schema::metadata::{SHRUNK, parse_value, split_pair};
use bk_schema::record::{Backup, BackupType, Status, check_new_name};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::flags::{
    ACCEPT, DESCRIPTION, EXPIRES, METADATA, NAME, PROGRAM, PROTECT, SOURCE_VERSION, TYPE, UNPROTECT,
};

/// Half the limit of a line: programs add keys to a record.
const RECORD_MAX_BYTES: usize = (LINE_MAX_BYTES / 2) as usize;

/// The fields to change. `None` leaves a field as it is; an inner `None` removes its value.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Edit {
    name: Option<String>,
    backup_type: Option<BackupType>,
    source_version: Option<Option<String>>,
    description: Option<Option<String>>,
    metadata: Vec<(String, Option<Value>)>,
    protected: Option<bool>,
    expires_at: Option<Option<Timestamp>>,
    accept: bool,
}

impl Edit {
    pub(crate) fn new(arguments: &Arguments, now: Timestamp) -> Result<Self> {
        let edit = Self {
            name: arguments.parsed(&NAME, |name| check_new_name(name).map(|()| name.to_owned()))?,
            backup_type: arguments.parsed(&TYPE, BackupType::parse)?,
            source_version: arguments.text(&SOURCE_VERSION)?.map(unless_empty),
            description: arguments.text(&DESCRIPTION)?.map(unless_empty),
            metadata: metadata(arguments)?,
            protected: arguments.one_of(&[(PROTECT, true), (UNPROTECT, false)])?,
            expires_at: arguments.parsed(&EXPIRES, |text| parse_expiry(text, now))?,
            accept: arguments.has(&ACCEPT),
        };
        if edit == Self::default() {
            let text = "nothing to change";
            return Err(UsageError(format!("{text}; try '{} --help'", PROGRAM.name)).into());
        }
        Ok(edit)
    }

    /// A new name is for one backup.
    pub(crate) fn check_count(&self, count: usize) -> Result<()> {
        let is_right = self.name.is_none() || count <= 1;
        ensure!(
            is_right,
            UsageError(format!("--name takes one backup, not {count}"))
        );
        Ok(())
    }

    /// Applies the edit to a record.
    ///
    /// # Errors
    /// A record that another program is working on, or that would be too long for a line.
    pub(crate) fn apply(&self, old: &Backup) -> Result<Backup> {
        if let Some(obstacle) = old.status.obstacle()
            && old.status != Status::Failed
        {
            bail!(obstacle);
        }
        let mut new = old.clone();
        set(&mut new.backup_name, &self.name);
        set(&mut new.backup_type, &self.backup_type);
        set(&mut new.source_version, &self.source_version);
        set(&mut new.description, &self.description);
        set(&mut new.protected, &self.protected);
        set(&mut new.expires_at, &self.expires_at);
        for (key, value) in &self.metadata {
            match value {
                Some(value) => new.backup_metadata.insert(key.clone(), value.clone()),
                None => new.backup_metadata.shift_remove(key),
            };
        }
        if self.accept {
            new.backup_metadata.shift_remove(SHRUNK);
        }
        ensure!(
            new == *old || serde_json::to_vec(&new)?.len() <= RECORD_MAX_BYTES,
            "its record would be longer than {RECORD_MAX_BYTES} bytes"
        );
        Ok(new)
    }
}

/// The old and the new values for the ledger: fields that differ, and of the metadata the keys that
/// differ. A key that only one side has is absent on the other.
pub(crate) fn difference(old: &Backup, new: &Backup) -> Result<Value> {
    let (mut before, mut after) = (object(old)?, object(new)?);
    keep_different(&mut before, &mut after);
    let metadata = "backup_metadata";
    if let (Some(Value::Object(before)), Some(Value::Object(after))) =
        (before.get_mut(metadata), after.get_mut(metadata))
    {
        keep_different(before, after);
    }
    Ok(json!({ "old": before, "new": after }))
}

fn object(backup: &Backup) -> Result<Map<String, Value>> {
    match serde_json::to_value(backup)? {
        Value::Object(object) => Ok(object),
        _ => bail!("a record is not an object"),
    }
}

fn keep_different(before: &mut Map<String, Value>, after: &mut Map<String, Value>) {
    let all = before.clone();
    before.retain(|key, value| after.get(key) != Some(value));
    after.retain(|key, value| all.get(key) != Some(value));
}

fn set<T: Clone>(field: &mut T, wanted: &Option<T>) {
    if let Some(wanted) = wanted {
        *field = wanted.clone();
    }
}

fn unless_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn parse_expiry(text: &str, now: Timestamp) -> Result<Option<Timestamp>> {
    if text == "never" {
        return Ok(None);
    }
    units::parse_future(text, now).map(Some)
}

fn metadata(arguments: &Arguments) -> Result<Vec<(String, Option<Value>)>> {
    let parse = |pair| {
        let (key, text) = split_pair(pair).map_err(|e| usage(&e, "--metadata"))?;
        Ok((
            key.to_owned(),
            unless_empty(text).map(|text| parse_value(&text)),
        ))
    };
    arguments.texts(&METADATA)?.into_iter().map(parse).collect()
}
