//! The rows of the ledger: events to be written, and rows that were read.
//!
//! Plain data: knows no catalog, and stores of a backup only its id and name.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::record::Backup;

/// Every event that programs log.
pub const EVENTS: [&str; 17] = [
    "create",
    "verify",
    "restore",
    "remove",
    "move",
    "set",
    "adopt",
    "prune",
    "auto",
    "recover",
    "storage",
    "upgrade",
    "notify",
    "push",
    "pull",
    "copy-check",
    "copy-remove",
];

/// A row to be added to the ledger.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// Id and name of the backup, if it is about one.
    pub backup: Option<(i64, &'a str)>,
    /// What happened: one of [`EVENTS`].
    pub event: &'a str,
    /// Whether it succeeded.
    pub ok: bool,
    /// A JSON object.
    pub details: Json,
}

impl<'a> Event<'a> {
    /// An event about a backup.
    #[must_use]
    pub fn of(backup: &'a Backup, event: &'a str, ok: bool, details: Json) -> Self {
        Self {
            backup: Some((backup.id, &backup.backup_name)),
            event,
            ok,
            details,
        }
    }
}

/// A row that was read from the ledger, keys in the order of the columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LedgerRow {
    /// From a sequence: rows are numbered in the order of writing.
    pub id: i64,
    /// When it was recorded.
    pub happened_at: Timestamp,
    /// Which program.
    pub program: String,
    /// Id of the backup, if it is about one; it may be removed since.
    pub backup_id: Option<i64>,
    /// The name that the backup had then.
    pub backup_name: Option<String>,
    /// `create`, `verify`, ...
    pub event: String,
    /// `ok` or `failed`.
    pub outcome: String,
    /// A JSON object; bk-record(5) lists the keys.
    pub details: Map<String, Json>,
}
