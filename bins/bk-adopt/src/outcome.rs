//! Reports outcomes: each record with the action, as a line at once, or as a row of the table at
//! the end.
//!
//! Decides nothing; does not open archives.

use anyhow::Result;
use bk_cli::listing::{self, FileStatus, Listed};
use bk_cli::output::Output;
use bk_cli::progress::Progress;
use bk_cli::report::Report;
use bk_cli::table::{Cell, Column};
use bk_schema::record::Backup;
use bk_store::home::Home;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::flags::PROGRAM;

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

    /// The line, and a warning where there is one.
    fn line(&self, home: &Home) -> Result<(Value, Option<String>)> {
        let listed = Listed::stat(home, self.record.clone());
        let is_lost =
            self.action == Action::AlreadyKnown && listed.file_status == FileStatus::Missing;
        let warning = is_lost.then(|| {
            format!(
                "warning: '{}' is '{}', whose archive is missing: --relink makes its record point to this one",
                self.from, self.record.backup_name
            )
        });
        let listed = listed.with([("adopt", self.details())], Map::new());
        let mut line = serde_json::to_value(&listed)?;
        if self.record.id == 0 {
            line["id"] = Value::Null;
        }
        Ok((line, warning))
    }

    fn row(&self, zone: &TimeZone) -> Vec<Cell> {
        let record = &self.record;
        let created = record.created_at.to_zoned(zone.clone());
        let id = match record.id {
            0 => "-".to_owned(),
            id => id.to_string(),
        };
        [
            self.action.name().to_owned(),
            id,
            created.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            listing::size(record),
            record.backup_name.clone(),
            self.from.clone(),
        ]
        .map(Cell::from)
        .to_vec()
    }
}

const COLUMNS: [Column; 6] = [
    Column::Left("ACTION"),
    Column::Right("ID"),
    Column::Left("CREATED"),
    Column::Right("SIZE"),
    Column::Left("NAME"),
    Column::Left("ARCHIVE"),
];

/// Prints outcomes and errors, and keeps the exit status.
pub(crate) struct Reporter {
    home: Home,
    report: Report,
    is_empty: bool,
    zone: TimeZone,
    pub(crate) progress: Progress,
    /// The exit status.
    pub(crate) status: u8,
}

impl Reporter {
    pub(crate) fn new(home: &Home, output: Output) -> Self {
        Self {
            home: home.clone(),
            report: Report::new(output, &COLUMNS),
            is_empty: true,
            zone: bk_cli::zone::local(),
            progress: Progress::new(&PROGRAM),
            status: bk_cli::SUCCESS,
        }
    }

    pub(crate) fn add(&mut self, outcome: &Outcome) -> Result<()> {
        let (line, warning) = outcome.line(&self.home)?;
        if let Some(warning) = warning {
            self.progress.warn(&warning);
        }
        self.is_empty = false;
        self.report.add(&line, outcome.row(&self.zone))
    }

    pub(crate) fn fail(&mut self, error: &anyhow::Error) {
        self.progress.warn(&format!("{error:#}"));
        self.status = bk_cli::SOME_FAILED;
    }

    pub(crate) fn add_all(&mut self, all: impl IntoIterator<Item = Result<Outcome>>) -> Result<()> {
        for one in all {
            match one {
                Ok(outcome) => self.add(&outcome)?,
                Err(error) => self.fail(&error),
            }
        }
        Ok(())
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        self.progress.end();
        if self.report.is_table() && self.is_empty && self.status == bk_cli::SUCCESS {
            PROGRAM.warn("there is nothing to do");
        }
        self.report.end()
    }
}
