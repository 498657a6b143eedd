//! Whether a record may move, as it is now in the catalog: a pure function.
//!
//! Knows no session and no file.

use std::collections::HashMap;

use anyhow::{Result, bail, ensure};
use bk_schema::record::Backup;

use crate::item::Item;

/// A record that changes each time it is looked at is given up.
const TRIES: u32 = 3;

/// What a record says of its move.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// It is as it was when its archive was looked at.
    May(Backup),
    /// It became another one: its archive is to be looked at again.
    Again(Backup),
}

/// The places that are taken, each with the id and the name of its record. What is judged to
/// move takes its new place.
pub(crate) type Taken = HashMap<String, (i64, String)>;

/// # Errors
/// Why it may not move.
pub(crate) fn judge(item: &Item, now: Backup, taken: &mut Taken) -> Result<Judgement> {
    if let Some(obstacle) = now.status.obstacle() {
        bail!(obstacle);
    }
    let facts = |it: &Backup| {
        let path = it.backup_path.clone();
        (it.status, path, it.backup_size, it.backup_hash.clone())
    };
    if facts(&now) != facts(&item.backup) {
        ensure!(item.tries < TRIES, "its record changes again and again");
        return Ok(Judgement::Again(now));
    }
    let owner = taken.get(&item.to).filter(|(id, _)| *id != now.id);
    if let Some((id, name)) = owner {
        let name = name.escape_debug();
        bail!("'{}' belongs to the backup {id} '{name}'", item.to);
    }
    taken.insert(item.to.clone(), (now.id, now.backup_name.clone()));
    Ok(Judgement::May(now))
}
