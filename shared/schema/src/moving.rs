//! The other end of a move, stored in the metadata while the status is `moving`.
//!
//! bk-mv writes it. Recovery reads it after a crash, and so does whoever opens an archive
//! meanwhile. Knows no file.

use serde::{Deserialize, Serialize};

use crate::record::{Backup, Status};

const KEY: &str = "moving";

/// The other end of a move. The path of the record itself is always valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Move {
    /// The archive is being moved there, and may have arrived.
    To(String),
    /// The archive has arrived from there; the old file is to be removed.
    From(String),
}

impl Move {
    /// The move of a record; `None` unless its status is `moving` and its metadata is valid.
    pub fn of(backup: &Backup) -> Option<Self> {
        let is_moving = backup.status == Status::Moving;
        Self::deserialize(backup.backup_metadata.get(KEY).filter(|_| is_moving)?).ok()
    }

    /// Stores the move in a record.
    ///
    /// # Errors
    /// Only what serde_json cannot serialize.
    pub fn put(&self, backup: &mut Backup) -> anyhow::Result<()> {
        let value = serde_json::to_value(self)?;
        backup.backup_metadata.insert(KEY.into(), value);
        Ok(())
    }

    /// Removes the move from a record.
    pub fn end(backup: &mut Backup) {
        backup.backup_metadata.shift_remove(KEY);
    }
}
