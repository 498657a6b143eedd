//! The move that a record is on, as its metadata tells it while its status is `moving`.
//!
//! bk-mv writes it; recovery reads it after a crash, and who opens an archive meanwhile. Knows
//! no file.

use serde::{Deserialize, Serialize};

use crate::record::{Backup, Status};

const KEY: &str = "moving";

/// The other end of a move. The record's own path is where the archive surely is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Move {
    /// It is on its way there, and may be there already.
    To(String),
    /// It has arrived; what is still there is to be removed.
    From(String),
}

impl Move {
    /// That of a record; `None` where it is on none, whatever its metadata tells, or where that
    /// cannot be told.
    #[must_use]
    pub fn of(backup: &Backup) -> Option<Self> {
        let is_moving = backup.status == Status::Moving;
        Self::deserialize(backup.backup_metadata.get(KEY).filter(|_| is_moving)?).ok()
    }

    /// Puts it into a record.
    ///
    /// # Errors
    /// None that a value of this type can bring about.
    pub fn put(&self, backup: &mut Backup) -> anyhow::Result<()> {
        let value = serde_json::to_value(self)?;
        backup.backup_metadata.insert(KEY.into(), value);
        Ok(())
    }

    /// Takes it out of a record, whose move is over.
    pub fn end(backup: &mut Backup) {
        backup.backup_metadata.shift_remove(KEY);
    }
}
