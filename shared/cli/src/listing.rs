//! Records as programs list them: with the state of their archive, as a JSON line or as a row of
//! the table that programs share.
//!
//! Only calls stat(2) on archives, and never while the catalog is locked.

use std::path::Path;

use anyhow::Result;
use bk_schema::copy::BackupCopy;
use bk_schema::moving::Move;
use bk_schema::record::{Backup, Status};
use bk_store::home::Home;
use bk_store::storage::Unreachable;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::columns::{Column, Cut};
use crate::output::Output;
use crate::table::{Cell, Tone};
use crate::units::human_size;
use crate::zone;

/// Whether the archive of a record exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileStatus {
    /// It is a regular file at the path of the record, or at the other end of a move.
    Available,
    /// It does not exist.
    Missing,
    /// Unknown: its storage is not mounted, or the file system fails.
    Offline,
    /// It never was here: a location has it.
    Remote,
}

/// A record with the state of its archive, and further keys for its line.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The record.
    pub backup: Backup,
    /// Whether its archive exists.
    pub file_status: FileStatus,
    /// The last part of its path.
    pub file_name: String,
    /// Keys that a program adds, and those passed through from the line of input.
    pub passed: Map<String, Value>,
}

/// The keys of its line, in their order.
#[derive(Serialize)]
struct ListedLine<'a> {
    #[serde(flatten)]
    backup: &'a Backup,
    file_status: FileStatus,
    file_name: &'a str,
    copies: &'a [BackupCopy],
    #[serde(flatten)]
    passed: &'a Map<String, Value>,
}

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let line = ListedLine {
            backup: &self.backup,
            file_status: self.file_status,
            file_name: &self.file_name,
            copies: &self.backup.copies,
            passed: &self.passed,
        };
        line.serialize(serializer)
    }
}

impl Listed {
    /// Finds out whether the archive exists. Prints a warning if that cannot be known.
    pub fn stat(home: &Home, backup: Backup) -> Self {
        Self::look(home, backup, true)
    }

    /// As [`Listed::stat`]; the warning is no news where `warns` is false.
    pub fn look(home: &Home, backup: Backup, warns: bool) -> Self {
        let found_at = |path: &str| home.storages.stat(path.as_ref());
        let found = match (found_at(&backup.backup_path), Move::of(&backup)) {
            (Ok(None), Some(Move::To(other) | Move::From(other))) => found_at(&other),
            (found, _) => found,
        };
        let file_status = match found {
            Ok(Some(metadata)) if metadata.is_file() => FileStatus::Available,
            Ok(None) | Err(Unreachable::Storage { .. }) if backup.remote().is_some() => {
                FileStatus::Remote
            }
            Ok(_) => FileStatus::Missing,
            Err(unreachable) => {
                if warns {
                    home.storages.tell_unreachable(&unreachable);
                }
                FileStatus::Offline
            }
        };
        Self::new(backup, file_status)
    }

    /// For an archive whose state is known.
    pub fn new(backup: Backup, file_status: FileStatus) -> Self {
        let name = Path::new(&backup.backup_path).file_name();
        let file_name = name.unwrap_or_default().to_string_lossy().into_owned();
        Self {
            backup,
            file_status,
            file_name,
            passed: Map::new(),
        }
    }

    /// Passes through the keys of a line of input that bk does not know.
    #[must_use]
    pub fn pass_through(self, object: Map<String, Value>) -> Self {
        self.with([], object)
    }

    /// Adds keys of the program, then those of a line of input as [`Listed::pass_through`] does.
    #[must_use]
    pub fn with(
        mut self,
        own: impl IntoIterator<Item = (&'static str, Value)>,
        object: Map<String, Value>,
    ) -> Self {
        let own = own.into_iter().map(|(key, value)| (key.to_owned(), value));
        self.passed.extend(own);
        for (key, value) in unknown_keys(object) {
            self.passed.entry(key).or_insert(value);
        }
        self
    }

    /// The column STATUS: `available`, `missing`, `offline` or `remote`; the status of a record that
    /// is not completed.
    pub fn state(&self) -> (&'static str, Tone) {
        match (self.backup.status, self.file_status) {
            (Status::Completed, FileStatus::Available) => ("available", Tone::Plain),
            (Status::Completed, FileStatus::Missing) => ("missing", Tone::Bad),
            (Status::Completed, FileStatus::Offline) => ("offline", Tone::Warn),
            (Status::Completed, FileStatus::Remote) => ("remote", Tone::Plain),
            (Status::Failed, _) => ("failed", Tone::Bad),
            (status, _) => (status.name(), Tone::Warn),
        }
    }

    fn row(&self, zone: &TimeZone) -> Vec<Cell> {
        let backup = &self.backup;
        let (state, tone) = self.state();
        vec![
            backup.id.to_string().into(),
            backup.backup_type.name().into(),
            time(backup.created_at, zone).into(),
            Cell::or_dash(backup.source_version.clone()),
            size(backup).into(),
            Cell::new(state, tone),
            copies(backup),
            source_cell(backup),
            backup.backup_name.clone().into(),
            Cell::or_dash(backup.file_count.map(|count| count.to_string())),
            Cell::or_dash(backup.expires_at.map(|at| time(at, zone))),
            Cell::or_dash(backup.description.clone()),
        ]
    }

    fn row_made(&self, zone: &TimeZone) -> Vec<Cell> {
        let backup = &self.backup;
        let metadata = &backup.backup_metadata;
        let new_bytes = metadata.get("new_bytes").and_then(Value::as_u64);
        let parent = metadata.get("parent").and_then(Value::as_str);
        vec![
            // One that is not made yet has none.
            Cell::or_dash((backup.id != 0).then(|| backup.id.to_string())),
            backup.backup_type.name().into(),
            time(backup.created_at, zone).into(),
            Cell::or_dash(backup.source_version.clone()),
            size(backup).into(),
            Cell::or_dash(new_bytes.map(human_size)),
            Cell::or_dash(parent.map(str::to_owned)),
            source_cell(backup),
            backup.backup_name.clone().into(),
        ]
    }
}

/// A time for people, in their zone.
#[must_use]
pub fn time(time: Timestamp, zone: &TimeZone) -> String {
    let local = time.to_zoned(zone.clone());
    local.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// What a backup is of: the job that it was made for, else its sources; `None` where that is not known.
#[must_use]
pub fn source(backup: &Backup) -> Option<String> {
    let sources = backup.backup_metadata.get("sources");
    let texts = sources.and_then(Value::as_array).into_iter().flatten();
    let texts: Vec<_> = texts.filter_map(Value::as_str).collect();
    match (backup.job(), texts.is_empty()) {
        (Some(job), _) => Some(job.to_owned()),
        (None, true) => None,
        (None, false) => Some(texts.join(", ")),
    }
}

/// The column SOURCE: what a backup is of, else its name.
#[must_use]
pub fn source_cell(backup: &Backup) -> Cell {
    source(backup)
        .unwrap_or_else(|| backup.backup_name.clone())
        .into()
}

/// The size for people, `-` if it is not known.
pub fn size(backup: &Backup) -> String {
    backup.backup_size.map_or("-".to_owned(), human_size)
}

/// The column COPIES: the locations of the complete ones.
fn copies(backup: &Backup) -> Cell {
    let complete = backup.copies.iter().filter(|it| it.is_complete());
    let locations: Vec<_> = complete.map(|it| it.location.as_str()).collect();
    Cell::or_dash((!locations.is_empty()).then(|| locations.join(", ")))
}

/// The keys of a line of input that are not those of a listed record.
fn unknown_keys(mut object: Map<String, Value>) -> Map<String, Value> {
    let known = Backup::KEYS
        .iter()
        .chain(&["file_status", "file_name", "copies"]);
    for key in known {
        object.shift_remove(*key);
    }
    object
}

/// Its id.
pub const ID: Column = Column::right("ID");
/// Its type.
pub const TYPE: Column = Column::left("TYPE").leaves(4);
/// When it was made: a cell of [`time`].
pub const CREATED: Column = Column::left("CREATED").cut(Cut::Plain, 16).leaves(1);
const VERSION: Column = Column::left("VERSION").cut(Cut::End, 8).leaves(5);
const SIZE: Column = Column::right("SIZE").leaves(3);
const STATUS: Column = Column::left("STATUS").leaves(2);
/// What a backup is of: a cell of [`source_cell`].
pub const SOURCE: Column = Column::left("SOURCE").cut(Cut::Middle, 12);
/// The name of a backup, where there is room for it.
pub const NAME: Column = Column::left("NAME").cut(Cut::Middle, 12).extra();

const COPIES: Column = Column::left("COPIES").cut(Cut::End, 8).leaves(6);

const COLUMNS: [Column; 12] = [
    ID,
    TYPE,
    CREATED,
    VERSION,
    SIZE,
    STATUS,
    COPIES,
    SOURCE,
    NAME,
    Column::right("FILES").extra(),
    Column::left("EXPIRES").cut(Cut::Plain, 16).extra(),
    Column::left("DESCRIPTION").cut(Cut::End, 16).extra(),
];

const COLUMNS_MADE: [Column; 9] = [
    ID,
    TYPE,
    CREATED,
    VERSION,
    SIZE,
    Column::right("NEW").leaves(4),
    Column::left("PARENT").cut(Cut::Middle, 12).leaves(6),
    SOURCE,
    NAME,
];

/// Prints records that were just made, as JSON lines or as a table: with what of each archive is new, and
/// its parent.
pub fn print_made(output: &mut Output, all: impl IntoIterator<Item = Listed>) -> Result<()> {
    if !output.is_table() {
        return print(output, all);
    }
    let zone = zone::local();
    let rows: Vec<_> = all
        .into_iter()
        .map(|listed| listed.row_made(&zone))
        .collect();
    output.table(&COLUMNS_MADE, &rows)?;
    output.flush()
}

/// Prints records, as JSON lines or as a table.
pub fn print(output: &mut Output, all: impl IntoIterator<Item = Listed>) -> Result<()> {
    if !output.is_table() {
        for listed in all {
            output.line(&listed)?;
            if output.is_closed() {
                break;
            }
        }
        return output.flush();
    }
    let zone = zone::local();
    let mut has_copies = false;
    let row = |listed: Listed| {
        has_copies |= listed.backup.copies.iter().any(BackupCopy::is_complete);
        listed.row(&zone)
    };
    let mut rows: Vec<_> = all.into_iter().map(row).collect();
    let mut columns = COLUMNS.to_vec();
    if let Some(at) = columns.iter().position(|it| *it == COPIES)
        && !has_copies
    {
        columns.remove(at);
        for row in &mut rows {
            row.remove(at);
        }
    }
    output.table(&columns, &rows)?;
    output.flush()
}
