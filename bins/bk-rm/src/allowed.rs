//! Whether a backup may be removed, as its record is now and by the line that named it.
//!
//! Knows no catalog; of a removal under way it asks who holds the archive.

use anyhow::{Result, bail};
use bk_schema::record::{Backup, Status};
use bk_store::home::Home;
use bk_store::removal;
use serde_json::{Map, Value};

/// What the flags allow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    /// The removal of protected ones.
    pub(crate) protected: bool,
    /// That of records whose storage is not there.
    pub(crate) offline: bool,
}

/// Whether its record and the line that named it allow the removal.
///
/// # Errors
/// That reason, to stand after the name.
pub(crate) fn check_allowed(
    home: &Home,
    backup: &Backup,
    line: &Map<String, Value>,
    allowed: Allowed,
) -> Result<()> {
    if is_kept(line) {
        bail!("its line says that it is to be kept");
    }
    let is_released =
        || allowed.offline && home.storages.check(backup.backup_path.as_ref()).is_err();
    let is_free = match backup.status {
        // Nobody works on a storage that is not there, and no recovery will settle the row.
        Status::Creating | Status::Moving => is_released(),
        Status::Deleting => !removal::is_under_way(home, backup),
        Status::Completed | Status::Failed => true,
    };
    if let Some(obstacle) = backup.status.obstacle()
        && !is_free
    {
        bail!(obstacle);
    }
    if backup.protected && !allowed.protected {
        bail!("it is protected; --force-protected removes it all the same");
    }
    Ok(())
}

/// What `bk-prune --explain` writes of what stays.
fn is_kept(line: &Map<String, Value>) -> bool {
    let decision = line.get("decision");
    let action = decision.and_then(|decision| decision.get("action"));
    action.is_some_and(|action| action == "keep")
}
