//! When and how the archive of a record was last verified, as its metadata tells it.
//!
//! bk-verify writes it, other programs read it. Knows no archive.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::record::Backup;

/// Its key in the metadata.
const KEY: &str = "last_verified";

/// The newest verification of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastVerified {
    /// When.
    pub at: Timestamp,
    /// How thoroughly: `quick`, `sha256` or `deep`.
    pub level: String,
    /// Whether nothing was wrong.
    pub ok: bool,
}

impl LastVerified {
    /// That of a record; `None` where it never was, or where that cannot be told.
    #[must_use]
    pub fn of(backup: &Backup) -> Option<Self> {
        let value = backup.backup_metadata.get(KEY)?;
        Self::deserialize(value).ok()
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
}
