//! When and how the archive of a record was last verified, as its metadata tells it.
//!
//! bk-verify writes it, other programs read it. Knows no archive.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock;
use crate::record::Backup;

/// Its key in the metadata.
const KEY: &str = "last_verified";
/// The time of the last verification at each level, so that a quick one does not hide when the
/// last deep one was.
const LEVELS_KEY: &str = "last_checks";

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

    /// When a record was last proved whole, as far as that can be believed.
    #[must_use]
    pub fn proved_at(backup: &Backup, now: Timestamp) -> Option<Timestamp> {
        let last = Self::of(backup).filter(|last| last.ok && !clock::is_to_come(last.at, now));
        Some(last?.at)
    }

    /// When a record was last verified at one of these levels, whatever came of it.
    #[must_use]
    pub fn time_at(backup: &Backup, levels: &[&str]) -> Option<Timestamp> {
        let newest = Self::of(backup).filter(|last| levels.contains(&last.level.as_str()));
        let times = backup.backup_metadata.get(LEVELS_KEY);
        let time = |level: &&str| times?.get(level)?.as_str()?.parse().ok();
        let all = levels.iter().filter_map(time);
        all.chain(newest.map(|last| last.at)).max()
    }

    /// Puts it into a record.
    ///
    /// # Errors
    /// None that a value of this type can bring about.
    pub fn put(&self, backup: &mut Backup) -> anyhow::Result<()> {
        let metadata = &mut backup.backup_metadata;
        let times = metadata.get(LEVELS_KEY).and_then(Value::as_object);
        let mut times = times.cloned().unwrap_or_default();
        times.insert(self.level.clone(), serde_json::to_value(self.at)?);
        metadata.insert(KEY.into(), serde_json::to_value(self)?);
        metadata.insert(LEVELS_KEY.into(), times.into());
        Ok(())
    }
}
