//! Whether a backup may be removed, as its record is now and by the line that named it.
//!
//! Knows no catalog; of a removal under way it asks who holds the archive.

use anyhow::{Result, bail};
use bk_schema::record::{Backup, Status};
use bk_schema::removal;
use serde_json::{Map, Value};

/// Why it may not go, if it may not.
///
/// # Errors
/// That reason, to stand after the name.
pub(crate) fn judge(
    backup: &Backup,
    line: &Map<String, Value>,
    force_protected: bool,
) -> Result<()> {
    if is_kept(line) {
        bail!("its line says that it is to be kept");
    }
    match backup.status {
        Status::Creating => bail!("it is being made by another program"),
        Status::Moving => bail!("it is being moved by another program"),
        Status::Deleting if removal::is_under_way(backup) => {
            bail!("it is gone: another program is removing it")
        }
        Status::Deleting | Status::Completed | Status::Failed => {}
    }
    if backup.protected && !force_protected {
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
