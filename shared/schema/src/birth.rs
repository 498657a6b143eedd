//! What an archive itself tells of its record, in the comment of its global header: enough to
//! build a lost catalog again.
//!
//! bk-create writes it and bk-adopt reads it. Later changes of the record are not in it. Knows
//! no archive.

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::record::{Backup, BackupType, check_name};

/// The facts of a record at its birth, by the names that they have in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// Its name.
    pub backup_name: String,
    /// Why it was made.
    pub backup_type: BackupType,
    /// Version of what was backed up.
    pub source_version: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// With the sources and the host.
    pub backup_metadata: Map<String, Value>,
    /// Whether removal is refused.
    pub protected: bool,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it may go.
    pub expires_at: Option<Timestamp>,
    /// The program that made it, and its version.
    pub program: String,
}

impl Birth {
    /// Those of a record.
    #[must_use]
    pub fn of(backup: &Backup, program: &str) -> Self {
        Self {
            backup_name: backup.backup_name.clone(),
            backup_type: backup.backup_type,
            source_version: backup.source_version.clone(),
            description: backup.description.clone(),
            backup_metadata: backup.backup_metadata.clone(),
            protected: backup.protected,
            created_at: backup.created_at,
            expires_at: backup.expires_at,
            program: format!("{program} {}", env!("CARGO_PKG_VERSION")),
        }
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// None that a record can bring about.
    pub fn to_comment(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// From the comment of any archive.
    ///
    /// # Errors
    /// What is no such line, as in the archives of other programs.
    pub fn from_comment(comment: &[u8]) -> Result<Self> {
        let birth: Self = serde_json::from_slice(comment).context("it tells no record")?;
        check_name(&birth.backup_name)?;
        Ok(birth)
    }
}
