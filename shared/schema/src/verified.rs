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
/// How an archive was damaged when it was adopted all the same.
pub const DAMAGED: &str = "damaged";

/// The levels of a verification, each more thorough than the one before.
pub static LEVELS: [&str; 3] = ["quick", "sha256", "deep"];

/// The verification of an archive that tells most of it: see [`LastVerified::put`].
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

    /// When an archive was proved whole, if it was and nothing was found wrong since, as far as
    /// that time can be believed. That it is there and as large as it was, which is all that a
    /// quick verification sees, proves nothing.
    #[must_use]
    pub fn proved_at(backup: &Backup, now: Timestamp) -> Option<Timestamp> {
        let is_proof = |last: &Self| last.ok && last.rank() > 0;
        let last = Self::of(backup).filter(is_proof)?;
        (!clock::is_to_come(last.at, now)).then_some(last.at)
    }

    /// Whether an archive is known to be bad: by its last verification, or since it was adopted,
    /// which only a look at all that is inside can take back.
    #[must_use]
    pub fn is_bad(backup: &Backup) -> bool {
        let was_damaged = backup.backup_metadata.contains_key(DAMAGED);
        let last = Self::of(backup);
        let is_deep = |it: &Self| it.rank() + 1 == LEVELS.len();
        last.map_or(was_damaged, |it| !it.ok || (was_damaged && !is_deep(&it)))
    }

    /// When a record was last verified at one of these levels, whatever came of it, as far as
    /// that time can be believed.
    #[must_use]
    pub fn time_at(backup: &Backup, levels: &[&str], now: Timestamp) -> Option<Timestamp> {
        let newest = Self::of(backup).filter(|last| levels.contains(&last.level.as_str()));
        let times = backup.backup_metadata.get(LEVELS_KEY);
        let time = |level: &&str| times?.get(level)?.as_str()?.parse().ok();
        let all = levels.iter().filter_map(time);
        let all = all.chain(newest.map(|last| last.at));
        all.filter(|at| !clock::is_to_come(*at, now)).max()
    }

    /// Of an unknown level, as a quick one.
    fn rank(&self) -> usize {
        let known = LEVELS.iter().position(|level| *level == self.level);
        known.unwrap_or(0)
    }

    /// Whether it tells more than an earlier one. What was found wrong, only a verification that
    /// is as thorough can take back, and a quick one never can; nor does a quick one that passes
    /// hide when the archive was proved.
    fn replaces(&self, earlier: &Self) -> bool {
        let (rank, earlier_rank) = (self.rank(), earlier.rank());
        match (earlier.ok, self.ok) {
            (true, false) => true,
            (true, true) => rank > 0 || earlier_rank == 0,
            (false, false) => rank >= earlier_rank,
            (false, true) => rank > 0 && rank >= earlier_rank,
        }
    }

    /// Puts it into a record: its time, and itself where it tells more than what is there.
    ///
    /// # Errors
    /// None that a value of this type can bring about.
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
