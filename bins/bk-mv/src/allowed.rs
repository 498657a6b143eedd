//! Whether a record may move, as it is now in the catalog: a pure function.
//!
//! Knows no session and no file.

use std::collections::HashMap;

use anyhow::{Result, bail, ensure};
use bk_schema::record::Backup;

use crate::way::Transfer;

/// A record that changes each time its archive is looked at is given up.
const TRIES: u32 = 3;

/// A record that allows its move.
#[derive(Debug)]
pub(crate) enum Allowed {
    /// It is as it was when its archive was looked at.
    Now(Backup),
    /// It was changed since: its archive is to be looked at again.
    Changed(Backup),
}

/// The places that are taken, each with the id and the name of its record. What may move takes
/// its new place.
pub(crate) type Taken = HashMap<String, (i64, String)>;

/// # Errors
/// Why it may not move.
pub(crate) fn check_allowed(
    transfer: &Transfer,
    now: Backup,
    taken: &mut Taken,
) -> Result<Allowed> {
    if let Some(obstacle) = now.status.obstacle() {
        bail!(obstacle);
    }
    let facts = |it: &Backup| {
        let path = it.backup_path.clone();
        (it.status, path, it.backup_size, it.backup_hash.clone())
    };
    if facts(&now) != facts(&transfer.backup) {
        ensure!(transfer.tries < TRIES, "its record changes again and again");
        return Ok(Allowed::Changed(now));
    }
    let owner = taken.get(&transfer.to).filter(|(id, _)| *id != now.id);
    if let Some((id, name)) = owner {
        let name = name.escape_debug();
        bail!("'{}' belongs to the backup {id} '{name}'", transfer.to);
    }
    taken.insert(transfer.to.clone(), (now.id, now.backup_name.clone()));
    Ok(Allowed::Now(now))
}
