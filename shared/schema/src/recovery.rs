//! What dead processes left, finished or undone before a session begins: told from what living
//! ones are doing by who holds the file. Whichever place holds the file wins; a missing file is
//! done.
//!
//! A few opens, renames and unlinks, which is why it may run inside a session. Knows no SQL.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use crate::at_work::{Held, hold};
use crate::catalog::{Event, Session};
use crate::durable::sync_dir;
use crate::moving::Move;
use crate::record::{Backup, Status};

/// Where an archive is while it is written.
#[must_use]
pub fn partial_path(archive: &Path) -> PathBuf {
    let mut name = archive.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// What becomes of a record whose process is dead, and why.
enum Fate {
    /// The row becomes this one.
    Becomes(Box<Backup>, String),
    /// The row goes.
    Goes(&'static str),
}

/// Finishes or undoes what dead processes left, in a transaction of its own. The rows in `own`,
/// sorted, are the work of this process.
///
/// # Errors
/// Those of the catalog; what cannot be tidied is left for the next session.
pub(crate) fn run(session: &Session<'_>, own: &[i64]) -> Result<()> {
    let mut fates = Vec::new();
    for (status, decide) in [
        (Status::Creating, creation as fn(&Backup) -> Option<Fate>),
        (Status::Deleting, deletion),
        (Status::Moving, moving),
    ] {
        let rows = session.with_status(status)?.into_iter().flatten();
        for backup in rows.filter(|it| own.binary_search(&it.id).is_err()) {
            if let Some(fate) = decide(&backup) {
                fates.push((backup, fate));
            }
        }
    }
    if fates.is_empty() {
        return Ok(());
    }
    session.transaction(|| {
        for (backup, fate) in fates {
            let reason = match fate {
                Fate::Becomes(backup, reason) => {
                    session.update(&backup)?;
                    reason
                }
                Fate::Goes(reason) => {
                    session.remove(&[backup.id])?;
                    reason.to_owned()
                }
            };
            session.log(&Event {
                backup: Some((backup.id, &backup.backup_name)),
                event: "recover",
                ok: true,
                details: json!({ "reason": reason, "status": backup.status }),
            })?;
        }
        Ok(())
    })
}

/// The state of one place.
enum Place {
    Empty,
    /// Nobody is at work on what is there.
    Abandoned(Held),
    /// Somebody is, or it cannot be told: it is left alone.
    Busy,
}

fn look(path: &Path) -> Place {
    match hold(path) {
        Ok(Some(held)) => Place::Abandoned(held),
        Ok(None) => Place::Empty,
        Err(_) => Place::Busy,
    }
}

fn creation(backup: &Backup) -> Option<Fate> {
    let archive = Path::new(&backup.backup_path);
    let partial = partial_path(archive);
    let reason = match (look(&partial), look(archive)) {
        (Place::Busy, _) | (_, Place::Busy) => return None,
        (Place::Abandoned(held), _) => match held.unlink() {
            Ok(()) => "interrupted: its partial archive was removed".to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => "interrupted".to_owned(),
            Err(error) => format!(
                "interrupted: its partial archive '{}' cannot be removed: {error}",
                partial.display()
            ),
        },
        (Place::Empty, Place::Abandoned(_)) => {
            "interrupted before it was recorded: the archive is whole".to_owned()
        }
        // The partial is made and locked before anybody else gets the catalog.
        (Place::Empty, Place::Empty) => "interrupted before it began".to_owned(),
    };
    let mut failed = backup.clone();
    failed.status = Status::Failed;
    let metadata = &mut failed.backup_metadata;
    metadata.insert("failure".into(), reason.clone().into());
    Some(Fate::Becomes(Box::new(failed), reason))
}

fn deletion(backup: &Backup) -> Option<Fate> {
    let archive = Path::new(&backup.backup_path);
    for path in [partial_path(archive), archive.to_owned()] {
        match look(&path) {
            Place::Busy => return None,
            Place::Empty => {}
            Place::Abandoned(held) => unlink(&held)?,
        }
    }
    // A living process may be between its unlink and its record; then this is as true.
    Some(Fate::Goes("its removal was finished"))
}

fn moving(backup: &Backup) -> Option<Fate> {
    let here = Path::new(&backup.backup_path);
    let settle = |path: &Path, reason: String| {
        let mut settled = backup.clone();
        Move::end(&mut settled);
        settled.status = Status::Completed;
        settled.backup_path = path.to_str()?.to_owned();
        Some(Fate::Becomes(Box::new(settled), reason))
    };
    let Some(other) = Move::of(backup) else {
        return settle(here, "its move was interrupted".to_owned());
    };
    let (Move::To(there) | Move::From(there)) = &other;
    let there = Path::new(there);
    let partial = partial_path(there);
    match (look(here), look(there), look(&partial)) {
        (Place::Busy, ..) | (_, Place::Busy, _) | (.., Place::Busy) => None,
        // Not yet recorded, or recorded and the old one not yet removed: what the record points
        // to is whole, and the other one is a copy of it.
        (Place::Abandoned(_), copy, partial) => {
            for held in [copy, partial] {
                if let Place::Abandoned(held) = held {
                    unlink(&held)?;
                }
            }
            let reason = format!("its move was interrupted; it is '{}'", here.display());
            settle(here, reason)
        }
        (Place::Empty, Place::Abandoned(_), _) => {
            let reason = format!("its move was interrupted; it is '{}'", there.display());
            settle(there, reason)
        }
        (Place::Empty, Place::Empty, _) => settle(
            here,
            "its move was interrupted; the archive is missing".to_owned(),
        ),
    }
}

/// Removes to last; `None` where it cannot, and the next session tries again.
fn unlink(held: &Held) -> Option<()> {
    held.unlink().ok()?;
    sync_dir(held.path().parent()?).ok()
}
