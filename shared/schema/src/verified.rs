//! When and how the archive of a record was last verified, from its metadata.
//!
//! bk-verify writes it, other programs read it. Knows no archive.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock;
use crate::record::Backup;

/// The metadata key of [`LastVerified`].
const KEY: &str = "last_verified";
/// The metadata key for the time of the last verification at each level: a quick one must not
/// hide when the last deep one was.
const LEVELS_KEY: &str = "last_checks";
/// The metadata key for the damage that an archive had when it was adopted.
pub const DAMAGED: &str = "damaged";

/// The levels of a verification, each more thorough than the one before.
pub static LEVELS: [&str; 3] = ["quick", "sha256", "deep"];

/// The most significant verification of an archive: see [`LastVerified::put`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastVerified {
    /// When.
    pub at: Timestamp,
    /// One of [`LEVELS`].
    pub level: String,
    /// Whether it passed.
    pub ok: bool,
}

impl LastVerified {
    /// The last verification of a record; `None` if there was none or the metadata is invalid.
    pub fn of(backup: &Backup) -> Option<Self> {
        let value = backup.backup_metadata.get(KEY)?;
        Self::deserialize(value).ok()
    }

    /// When an archive last passed an `sha256` or `deep` verification and has not failed since. A
    /// `quick` one, which sees presence and size only, does not count, nor does a time in the
    /// future.
    pub fn verified_at(backup: &Backup, now: Timestamp) -> Option<Timestamp> {
        let is_pass = |last: &Self| last.ok && last.rank() > 0;
        let last = Self::of(backup).filter(is_pass)?;
        (!clock::is_in_future(last.at, now)).then_some(last.at)
    }

    /// Whether an archive is known to be bad: it failed its last verification, or it was damaged
    /// when it was adopted and has not passed a `deep` one since.
    pub fn is_bad(backup: &Backup) -> bool {
        let was_damaged = backup.backup_metadata.contains_key(DAMAGED);
        let last = Self::of(backup);
        let is_deep = |it: &Self| it.rank() + 1 == LEVELS.len();
        last.map_or(was_damaged, |it| !it.ok || (was_damaged && !is_deep(&it)))
    }

    /// When a record was last verified at one of these levels, passed or failed; times in the
    /// future do not count.
    pub fn checked_at(backup: &Backup, levels: &[&str], now: Timestamp) -> Option<Timestamp> {
        let newest = Self::of(backup).filter(|last| levels.contains(&last.level.as_str()));
        let times = backup.backup_metadata.get(LEVELS_KEY);
        let time = |level: &&str| times?.get(level)?.as_str()?.parse().ok();
        let all = levels.iter().filter_map(time);
        let all = all.chain(newest.map(|last| last.at));
        all.filter(|at| !clock::is_in_future(*at, now)).max()
    }

    /// Position in [`LEVELS`]; an unknown level counts as `quick`.
    fn rank(&self) -> usize {
        let known = LEVELS.iter().position(|level| *level == self.level);
        known.unwrap_or(0)
    }

    /// Whether this result replaces an earlier one. A failure is only replaced by a result that is
    /// as thorough, and never by a `quick` pass. A `quick` pass does not replace a thorough one
    /// either.
    fn replaces(&self, earlier: &Self) -> bool {
        let (rank, earlier_rank) = (self.rank(), earlier.rank());
        match (earlier.ok, self.ok) {
            (true, false) => true,
            (true, true) => rank > 0 || earlier_rank == 0,
            (false, false) => rank >= earlier_rank,
            (false, true) => rank > 0 && rank >= earlier_rank,
        }
    }

    /// Stores it in a record: always its time, itself only if it replaces the earlier result.
    ///
    /// # Errors
    /// Only what serde_json cannot serialize.
    pub fn put(&self, backup: &mut Backup) -> anyhow::Result<()> {
        let is_newest = Self::of(backup).is_none_or(|earlier| self.replaces(&earlier));
        let metadata = &mut backup.backup_metadata;
        let times = metadata.get(LEVELS_KEY).and_then(Value::as_object);
        let mut times = times.cloned().unwrap_or_default();
        times.insert(self.level.clone(), serde_json::to_value(self.at)?);
        if is_newest {
            metadata.insert(KEY.into(), serde_json::to_value(self)?);
        }
        metadata.insert(LEVELS_KEY.into(), times.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_taken_back_by_one_as_thorough() {
        let one = |level: &str, ok| LastVerified {
            at: Timestamp::UNIX_EPOCH,
            level: level.to_owned(),
            ok,
        };
        for (earlier, was_ok, later, ok, replaces) in [
            ("quick", false, "quick", true, false),
            ("quick", false, "sha256", true, true),
            ("sha256", false, "quick", true, false),
            ("sha256", false, "sha256", true, true),
            ("sha256", false, "deep", true, true),
            ("deep", false, "sha256", true, false),
            ("deep", false, "deep", true, true),
            ("deep", false, "sha256", false, false),
            ("sha256", false, "deep", false, true),
            ("deep", true, "quick", true, false),
            ("deep", true, "sha256", true, true),
            ("deep", true, "quick", false, true),
            ("quick", true, "quick", true, true),
            ("nonsense", false, "quick", true, false),
            ("nonsense", true, "quick", true, true),
        ] {
            let is = one(later, ok).replaces(&one(earlier, was_ok));
            assert_eq!(is, replaces, "{earlier} {was_ok}, {later} {ok}");
        }
    }
}
