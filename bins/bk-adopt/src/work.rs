//! The state of a run, which adopting and relinking share, and the outcomes: what was found is
//! recorded now and then, and reported as lines at once or as a table at the end.
//!
//! Knows no archive's content.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::Result;
use bk_cli::listing::{self, FileStatus, Listed};
use bk_cli::{Cell, Column, Cut, Output, Progress, Report};
use bk_schema::event::Event;
use bk_schema::record::{Backup, Status};
use bk_store::rows::BadRow;
use bk_store::{Home, Session, Signals, catalog};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::find::Inode;
use crate::flags::PROGRAM;

/// The records as they are in the catalog.
pub(crate) type Rows = Vec<Result<Backup, BadRow>>;

/// Findings are recorded and reported together, at least this often.
const RECORD_EVERY: Duration = Duration::from_secs(2);
/// Before a larger archive is read, what was found so far is recorded and reported.
const LARGE_BYTES: u64 = 64 << 20;

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

    fn line(&self, listed: Listed) -> Result<Value> {
        let listed = listed.with([("adopt", self.details())], Map::new());
        let mut line = serde_json::to_value(&listed)?;
        if self.record.id == 0 {
            line["id"] = Value::Null;
        }
        Ok(line)
    }

    fn row(&self, zone: &TimeZone) -> Vec<Cell> {
        let record = &self.record;
        vec![
            self.action.name().into(),
            Cell::or_dash((record.id != 0).then(|| record.id.to_string())),
            listing::time(record.created_at, zone).into(),
            listing::size(record).into(),
            record.backup_name.as_str().into(),
            self.from.as_str().into(),
        ]
    }
}

const COLUMNS: [Column; 6] = [
    Column::left("ACTION"),
    listing::ID,
    listing::CREATED,
    Column::right("SIZE").leaves(2),
    Column::left("NAME").cut(Cut::Middle, 12),
    Column::left("ARCHIVE").cut(Cut::Middle, 12),
];

/// A run: archives are read one after the other, and now and then what was found is recorded and
/// reported.
pub(crate) struct Work<'a> {
    pub(crate) home: &'a Home,
    pub(crate) is_dry: bool,
    pub(crate) signals: Signals,
    pub(crate) progress: Progress,
    /// The exit status.
    pub(crate) status: u8,
    report: Report,
    is_empty: bool,
    zone: TimeZone,
    recorded_at: Instant,
}

impl<'a> Work<'a> {
    pub(crate) fn new(home: &'a Home, is_dry: bool, output: Output) -> Result<Self> {
        Ok(Self {
            home,
            is_dry,
            signals: Signals::watch()?,
            progress: Progress::new(&PROGRAM),
            status: bk_cli::SUCCESS,
            report: Report::new(output, &COLUMNS),
            is_empty: true,
            zone: bk_cli::zone::local(),
            recorded_at: Instant::now(),
        })
    }

    pub(crate) fn add(&mut self, outcome: &Outcome) -> Result<()> {
        let listed = Listed::stat(self.home, outcome.record.clone());
        if outcome.action == Action::AlreadyKnown && listed.file_status == FileStatus::Missing {
            self.progress.warn(&format!(
                "warning: '{}' is '{}', whose archive is missing: --relink makes its record point to this one",
                outcome.from, outcome.record.backup_name
            ));
        }
        self.is_empty = false;
        self.report
            .add(&outcome.line(listed)?, outcome.row(&self.zone))
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

    /// Whether to record before an archive of this size is read.
    pub(crate) fn is_time_to_record(&self, next_bytes: u64) -> bool {
        !self.is_dry && (next_bytes > LARGE_BYTES || self.recorded_at.elapsed() >= RECORD_EVERY)
    }

    /// Records in one session, then reports.
    pub(crate) fn record(
        &mut self,
        record: impl FnOnce(&Session<'_>) -> Result<Vec<Result<Outcome>>>,
    ) -> Result<()> {
        if self.signals.caught().is_none() {
            // A signal may end the wait for the catalog.
            self.signals.release();
        }
        let all = catalog::write(self.home, |session| {
            self.signals.hold();
            record(session)
        });
        self.recorded_at = Instant::now();
        self.add_all(all?)
    }
}

/// Whether the record is that of an attempt that was not completed; its archive may be complete.
pub(crate) fn is_unfinished(backup: &Backup) -> bool {
    matches!(backup.status, Status::Creating | Status::Failed)
}

/// The records by the files that they point to. A completed record takes precedence.
pub(crate) fn by_inode(rows: &Rows) -> HashMap<Inode, Backup> {
    let mut known = HashMap::new();
    for backup in rows.iter().flatten() {
        if let Ok(file) = std::fs::metadata(&backup.backup_path) {
            let inode = (file.dev(), file.ino());
            if !is_unfinished(backup) || !known.contains_key(&inode) {
                known.insert(inode, backup.clone());
            }
        }
    }
    known
}

pub(crate) fn log(session: &Session<'_>, outcome: &Outcome) -> Result<()> {
    let event = Event::of(&outcome.record, "adopt", true, outcome.details());
    session.log(&event)
}
