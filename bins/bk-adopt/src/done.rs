//! What became of archives, as it is told: each record with what was done, a line at once or a
//! row of the table at the end.
//!
//! Decides nothing; looks at archives by stat alone.

use anyhow::Result;
use bk_cli::listing::{FileStatus, Listed};
use bk_cli::output::Output;
use bk_cli::progress::Progress;
use bk_cli::table::{Cell, Column};
use bk_cli::units::human_size;
use bk_schema::record::Backup;
use bk_store::home::Home;
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

    /// With a warning, where there is one.
    fn line(&self, home: &Home) -> Result<(Value, Option<String>)> {
        let mut listed = Listed::look(home, self.record.clone());
        let is_lost =
            self.action == Action::AlreadyKnown && listed.file_status == FileStatus::Missing;
        let warning = is_lost.then(|| {
            format!(
                "warning: '{}' is '{}', whose archive is missing: --relink makes its record point to this one",
                self.from, self.record.backup_name
            )
        });
        listed.pass(Map::from_iter([("adopt".to_owned(), self.details())]));
        let mut line = serde_json::to_value(&listed)?;
        if self.record.id == 0 {
            line["id"] = Value::Null;
        }
        Ok((line, warning))
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

/// Tells what was done, above the bar of the progress.
pub(crate) struct Report {
    home: Home,
    output: Output,
    rows: Vec<Vec<Cell>>,
    zone: TimeZone,
    pub(crate) progress: Progress,
    /// How the program ends.
    pub(crate) status: u8,
}

impl Report {
    pub(crate) fn new(home: &Home, output: Output) -> Self {
        Self {
            home: home.clone(),
            output,
            rows: Vec::new(),
            zone: bk_cli::zone::local(),
            progress: Progress::new(&PROGRAM),
            status: bk_cli::DONE,
        }
    }

    /// # Errors
    /// Those of the output.
    pub(crate) fn add(&mut self, done: &Done) -> Result<()> {
        let (line, warning) = done.line(&self.home)?;
        if let Some(warning) = warning {
            self.progress.warn(&warning);
        }
        if self.output.is_table() {
            self.rows.push(done.row(&self.zone));
            return Ok(());
        }
        self.output.line(&line)
    }

    pub(crate) fn fail(&mut self, error: &anyhow::Error) {
        self.progress.warn(&format!("{error:#}"));
        self.status = bk_cli::SOME_FAILED;
    }

    /// As each ended; what was told before it goes out first.
    ///
    /// # Errors
    /// Those of the output.
    pub(crate) fn add_all(&mut self, all: impl IntoIterator<Item = Result<Done>>) -> Result<()> {
        for one in all {
            match one {
                Ok(done) => self.add(&done)?,
                Err(error) => self.fail(&error),
            }
        }
        self.output.flush()
    }

    /// # Errors
    /// Those of the output.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.progress.end();
        if self.output.is_table() && self.rows.is_empty() {
            if self.status == bk_cli::DONE {
                PROGRAM.warn("there is nothing to do");
            }
            return self.output.flush();
        }
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
        if self.output.is_table() {
            self.output.table(&columns, &self.rows)?;
        }
        self.output.flush()
    }
}
