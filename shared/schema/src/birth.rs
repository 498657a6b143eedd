//! The birth facts: the part of a record that its archive carries in the comment of the pax global
//! header, enough to rebuild a lost catalog.
//!
//! bk-create writes them and bk-adopt reads them. Later changes of the record are not in them.
//! Knows no archive.

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::record::{Backup, BackupType, check_name};

/// The fields of a record that are known before its archive is written, under the same keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// Its name.
    pub backup_name: String,
    /// Why it was made.
    pub backup_type: BackupType,
    /// Version of what was backed up.
    pub source_version: Option<String>,
    /// A note of the user.
    pub description: Option<String>,
    /// Sources, host and what the user added.
    pub backup_metadata: Map<String, Value>,
    /// Whether removal is refused.
    pub protected: bool,
    /// When the run that made it began.
    pub created_at: Timestamp,
    /// From when on it may be removed.
    pub expires_at: Option<Timestamp>,
    /// The program that made it, and its version.
    pub program: String,
}

impl Birth {
    /// The birth facts of a record that `program` is about to write.
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

    /// One line of JSON, for the global header.
    ///
    /// # Errors
    /// Only what serde_json cannot serialize.
    pub fn to_comment(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// Parses the comment of a global header.
    ///
    /// # Errors
    /// Any other comment, as in the archives of other programs, and an invalid name.
    pub fn from_comment(comment: &[u8]) -> Result<Self> {
        let birth: Self = serde_json::from_slice(comment).context("it has no record of bk")?;
        check_name(&birth.backup_name)?;
        Ok(birth)
    }
}
