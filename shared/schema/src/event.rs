//! The rows of the ledger, as they are written and as they are read.
//!
//! Plain data: knows no catalog and no record but by its id and name.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value as Json};

/// Every event that programs log: what [`Event::event`] is one of.
pub const EVENTS: [&str; 12] = [
    "create", "verify", "restore", "remove", "move", "set", "adopt", "prune", "auto", "recover",
    "storage", "upgrade",
];

/// A row of the ledger.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// Which backup, where there is one.
    pub backup: Option<(i64, &'a str)>,
    /// What happened: one of [`EVENTS`].
    pub event: &'a str,
    /// Whether it went well.
    pub ok: bool,
    /// A JSON object.
    pub details: Json,
}

/// The removal of a backup, as the ledger tells it.
#[derive(Debug, Clone)]
pub struct Removed {
    /// The id that it had.
    pub id: i64,
    /// The name that it had.
    pub name: String,
    /// Which program removed it.
    pub program: String,
    /// When.
    pub at: Timestamp,
}

impl std::fmt::Display for Removed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            id,
            name,
            program,
            at,
        } = self;
        let name = name.escape_debug();
        write!(
            f,
            "backup {id} '{name}' is gone: {program} removed it at {at}"
        )
    }
}

/// One row of the ledger, keys in the order of the columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// From a sequence, so in the order in which they were written.
    pub id: i64,
    /// When it was recorded.
    pub happened_at: Timestamp,
    /// Which program.
    pub program: String,
    /// Which backup, where it was one's; it may be gone.
    pub backup_id: Option<i64>,
    /// The name that the backup had then.
    pub backup_name: Option<String>,
    /// `create`, `verify`, ...
    pub event: String,
    /// `ok` or `failed`.
    pub outcome: String,
    /// What the program told.
    pub details: Map<String, Json>,
}

/// A row of the ledger that cannot be read, named so that it does not hide the others.
#[derive(Debug, Clone)]
pub struct BadEntry {
    /// Its place in the ledger.
    pub id: i64,
    /// What is wrong with it.
    pub reason: String,
}

impl std::error::Error for BadEntry {}

impl std::fmt::Display for BadEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, reason } = self;
        write!(f, "the row {id} of the ledger is damaged: {reason}")
    }
}
