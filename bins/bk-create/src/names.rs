//! The name of a backup that is to be made, chosen while the catalog is held.
//!
//! Looks at the storage directory for files that have it.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use bk_schema::event::Event;
use bk_schema::record::Status;
use bk_store::archives::partial::partial_path;
use bk_store::session::Session;
use jiff::Timestamp;
use serde_json::json;

use crate::request::Request;

/// The name that was asked for, or the default one with `_2` and so on where that is taken. A
/// failed attempt does not keep its name from the next one.
pub(crate) fn free_name(
    session: &Session<'_>,
    request: &Request,
    storage: &Path,
    now: Timestamp,
) -> Result<String> {
    let wanted = match &request.name {
        Some(name) => name.clone(),
        None => request.default_name(now),
    };
    if request.name.is_some() {
        make_room(session, &wanted)?;
    }
    let archive = |name: &str| storage.join(format!("{name}.tar.gz"));
    // The archive's own path begins so, and those with a number.
    let begin = storage.join(&wanted);
    let (names, paths) = session.taken_beginning(&wanted, &begin.to_string_lossy())?;
    let is_free = |name: &str| {
        let archive = archive(name);
        let on_disk = |path: &Path| path.symlink_metadata().is_ok();
        !names.contains(name)
            && !paths.contains(&*archive.to_string_lossy())
            && !on_disk(&archive)
            && !on_disk(&partial_path(&archive))
    };
    if is_free(&wanted) {
        return Ok(wanted);
    }
    ensure!(
        request.name.is_none(),
        "cannot create '{wanted}': the name is taken, by a backup or by a file in '{}'",
        storage.display()
    );
    let mut numbered = (2..100_000).map(|number| format!("{wanted}_{number}"));
    match numbered.find(|name| is_free(name)) {
        Some(name) => Ok(name),
        None => bail!("cannot create '{wanted}': the name and all numbers after it are taken"),
    }
}

fn make_room(session: &Session<'_>, name: &str) -> Result<()> {
    let is_failed = |backup: &bk_schema::record::Backup| backup.status == Status::Failed;
    let Some(failed) = session.named(name)?.filter(is_failed) else {
        return Ok(());
    };
    session.check_room()?;
    session.remove(&[failed.id])?;
    session.log(&Event {
        backup: Some((failed.id, name)),
        event: "remove",
        ok: true,
        details: json!({ "reason": "a failed attempt, replaced by the next one" }),
    })
}
