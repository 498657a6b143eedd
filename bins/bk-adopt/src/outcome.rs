//! The outcome for one archive: the record with the action, as a line or as a row of the table.
//!
//! Decides and prints nothing.

use anyhow::Result;
use bk_cli::listing::{self, Listed};
use bk_cli::{Cell, Column};
use bk_schema::record::Backup;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

/// What was done, by its name in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Adopted,
    Completed,
    Relinked,
    AlreadyKnown,
    WouldAdopt,
    WouldComplete,
    WouldRelink,
}

impl Action {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Adopted => "adopted",
            Self::Completed => "completed",
            Self::Relinked => "relinked",
            Self::AlreadyKnown => "already known",
            Self::WouldAdopt => "would adopt",
            Self::WouldComplete => "would complete",
            Self::WouldRelink => "would relink",
        }
    }
}

/// The outcome for one archive.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) action: Action,
    /// Its id is 0 in a dry run.
    pub(crate) record: Backup,
    /// The archive.
    pub(crate) from: String,
    /// The path in the record before.
    pub(crate) was: Option<String>,
}

impl Outcome {
    pub(crate) fn new(action: Action, record: Backup, from: String) -> Self {
        Self {
            action,
            record,
            from,
            was: None,
        }
    }

    /// The details of the event.
    pub(crate) fn details(&self) -> Value {
        let mut details = json!({ "action": self.action.name(), "from": self.from });
        if let Some(was) = &self.was {
            details["was"] = was.clone().into();
        }
        details
    }

    pub(crate) fn line(&self, listed: Listed) -> Result<Value> {
        let listed = listed.with([("adopt", self.details())], Map::new());
        let mut line = serde_json::to_value(&listed)?;
        if self.record.id == 0 {
            line["id"] = Value::Null;
        }
        Ok(line)
    }

    pub(crate) fn row(&self, zone: &TimeZone) -> Vec<Cell> {
        let record = &self.record;
        let created = record.created_at.to_zoned(zone.clone());
        vec![
            self.action.name().into(),
            Cell::or_dash((record.id != 0).then(|| record.id.to_string())),
            created.strftime("%Y-%m-%d %H:%M:%S").to_string().into(),
            listing::size(record).into(),
            record.backup_name.as_str().into(),
            self.from.as_str().into(),
        ]
    }
}

pub(crate) const COLUMNS: [Column; 6] = [
    Column::left("ACTION"),
    Column::right("ID"),
    Column::left("CREATED"),
    Column::right("SIZE"),
    Column::left("NAME"),
    Column::left("ARCHIVE"),
];
