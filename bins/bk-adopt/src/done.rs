//! What became of an archive, as it is told: the record with what was done, a line or a row.
//!
//! Decides nothing; looks at archives by stat alone.

use anyhow::Result;
use bk_schema::home::Home;
use bk_schema::listing::{FileStatus, Listed};
use bk_schema::output::{Cell, Column, Output};
use bk_schema::record::Backup;
use bk_schema::units::human_size;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::flags::PROGRAM;

/// What was done, by the word that it has in a line.
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

/// What became of one archive.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) action: Action,
    /// Its id is 0 where it has none yet.
    pub(crate) record: Backup,
    /// The archive.
    pub(crate) from: String,
    /// Where the record had it before.
    pub(crate) was: Option<String>,
}

impl Done {
    pub(crate) fn new(action: Action, record: Backup, from: String) -> Self {
        Self {
            action,
            record,
            from,
            was: None,
        }
    }

    /// What the ledger keeps.
    pub(crate) fn details(&self) -> Value {
        let mut details = json!({ "action": self.action.name(), "from": self.from });
        if let Some(was) = &self.was {
            details["was"] = was.clone().into();
        }
        details
    }

    fn line(&self, home: &Home) -> Result<Value> {
        let mut listed = Listed::look(home, self.record.clone());
        if self.action == Action::AlreadyKnown && listed.file_status == FileStatus::Missing {
            PROGRAM.warn(&format!(
                "warning: '{}' is '{}', whose archive is missing: --relink makes its record point to this one",
                self.from, self.record.backup_name
            ));
        }
        listed.pass(Map::from_iter([("adopt".to_owned(), self.details())]));
        let mut line = serde_json::to_value(&listed)?;
        if self.record.id == 0 {
            line["id"] = Value::Null;
        }
        Ok(line)
    }

    fn row(&self, zone: &TimeZone) -> Vec<Cell> {
        let record = &self.record;
        let created = record.created_at.to_zoned(zone.clone());
        let size = record.backup_size.and_then(|size| u64::try_from(size).ok());
        let id = match record.id {
            0 => "-".to_owned(),
            id => id.to_string(),
        };
        [
            self.action.name().to_owned(),
            id,
            created.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            size.map_or("-".to_owned(), human_size),
            record.backup_name.clone(),
            self.from.clone(),
        ]
        .map(Cell::from)
        .to_vec()
    }
}

/// Prints what was done, as lines or as a table.
///
/// # Errors
/// Those of the output.
pub(crate) fn print(home: &Home, output: &mut Output, all: &[Done]) -> Result<()> {
    let lines: Vec<_> = all
        .iter()
        .map(|done| done.line(home))
        .collect::<Result<_>>()?;
    if !output.is_table() {
        for line in lines {
            output.line(&line)?;
        }
    } else if all.is_empty() {
        PROGRAM.warn("there is nothing to do");
    } else {
        let column = |(title, is_right)| Column { title, is_right };
        let columns = [
            ("ACTION", false),
            ("ID", true),
            ("CREATED", false),
            ("SIZE", true),
            ("NAME", false),
            ("ARCHIVE", false),
        ]
        .map(column);
        let zone = TimeZone::system();
        let rows: Vec<_> = all.iter().map(|done| done.row(&zone)).collect();
        output.table(&columns, &rows)?;
    }
    output.flush()
}
