//! Crash recovery: completes or rolls back rows whose process no longer holds the lock on the file,
//! before a session begins. Whichever place has the file wins; a missing file is done.
//!
//! A few opens, renames and unlinks, which is why it may run inside a session. Knows no SQL.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Result;
use bk_schema::event::Event;
use bk_schema::moving::Move;
use bk_schema::record::{Backup, Status};
use serde_json::json;

use crate::archives::advisory_lock::{Locked, lock};
use crate::archives::distinct::prove_apart;
use crate::archives::durable::sync_dir;
use crate::archives::open::is_absent;
use crate::archives::partial::partial_path;
use crate::home::Home;
use crate::session::Session;

/// What becomes of a record whose process is dead, and why.
struct Outcome {
    /// The row goes where there is none.
    becomes: Option<Backup>,
    reason: String,
}

/// `None`: somebody is at work on it, or it is left for the next session.
type Decide = fn(&Backup, &Taken) -> Option<Outcome>;
/// Places of archives, each with the id and the name of its record.
type Taken = HashMap<String, (i64, String)>;

/// Completes or rolls back what dead processes left, in a transaction of its own. The rows in `own`,
/// sorted, are the work of this process.
///
/// # Errors
/// Those of the catalog; what cannot be tidied is left for the next session.
pub(crate) fn run(session: &Session<'_>, own: &[i64]) -> Result<()> {
    let mut outcomes = Vec::new();
    for (status, decide) in [
        (Status::Creating, creation as Decide),
        (Status::Deleting, deletion),
        (Status::Moving, moving),
    ] {
        let rows = session.with_status(status)?.into_iter().flatten();
        let rows = rows.filter(|it| own.binary_search(&it.id).is_err());
        let rows: Vec<_> = rows.filter(|it| is_reached(session.home, it)).collect();
        if rows.is_empty() {
            continue;
        }
        let taken = session.taken(&rows.iter().flat_map(places).collect::<Vec<_>>())?;
        for backup in rows {
            if let Some(outcome) = decide(&backup, &taken) {
                outcomes.push((backup, outcome));
            }
        }
    }
    if outcomes.is_empty() {
        return Ok(());
    }
    let changed: Vec<_> = outcomes
        .iter()
        .filter_map(|it| it.1.becomes.as_ref())
        .collect();
    let gone = outcomes.iter().filter(|it| it.1.becomes.is_none());
    let gone: Vec<_> = gone.map(|(backup, _)| backup.id).collect();
    session.transaction(|| {
        session.update_all(&changed)?;
        session.remove(&gone)?;
        session.log_all(&outcomes.iter().map(event).collect::<Vec<_>>())
    })
}

fn event((backup, outcome): &(Backup, Outcome)) -> Event<'_> {
    Event {
        backup: Some((backup.id, &backup.backup_name)),
        event: "recover",
        ok: true,
        details: json!({ "reason": outcome.reason, "status": backup.status }),
    }
}

/// Whether all storages that may hold a file of it are there; else its row stays as it is.
fn is_reached(home: &Home, backup: &Backup) -> bool {
    let all = std::iter::once(backup.backup_path.clone()).chain(places(backup));
    all.into_iter()
        .all(|path| match home.storages.check_again(Path::new(&path)) {
            Ok(()) => true,
            Err(unreachable) => {
                home.storages.tell_unreachable(&unreachable);
                false
            }
        })
}

/// The state of one place.
enum Place {
    Empty,
    /// Nobody has locked what is there.
    Abandoned(Locked),
    /// Somebody has, or it cannot be told: it is left alone.
    Busy,
}

fn place(path: &Path) -> Place {
    match lock(path) {
        Ok(Some(held)) => Place::Abandoned(held),
        Ok(None) => Place::Empty,
        Err(_) => Place::Busy,
    }
}

fn creation(backup: &Backup, _: &Taken) -> Option<Outcome> {
    let archive = Path::new(&backup.backup_path);
    let partial = partial_path(archive);
    let reason = match (place(&partial), place(archive)) {
        (Place::Busy, _) | (_, Place::Busy) => return None,
        (Place::Abandoned(held), other) => match held.unlink().and_then(|()| drop_reserved(&other))
        {
            Ok(()) => "interrupted: its partial archive was removed".to_owned(),
            Err(error) if is_absent(&error) => "interrupted".to_owned(),
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
    Some(Outcome {
        becomes: Some(failed),
        reason,
    })
}

/// Removes the empty file that kept the name of an archive whose rename did not come.
fn drop_reserved(place: &Place) -> std::io::Result<()> {
    match place {
        Place::Abandoned(held) if held.size_bytes == 0 => held.unlink(),
        _ => Ok(()),
    }
}

fn deletion(backup: &Backup, _: &Taken) -> Option<Outcome> {
    let archive = Path::new(&backup.backup_path);
    for path in [partial_path(archive), archive.to_owned()] {
        match place(&path) {
            Place::Busy => return None,
            // It may have been unlinked without a sync; a directory that is gone needs none.
            Place::Empty => drop(path.parent().map(sync_dir)),
            Place::Abandoned(held) => unlink(&held)?,
        }
    }
    // A living process may be between its unlink and its record; then this is as true.
    Some(Outcome {
        becomes: None,
        reason: "its removal was finished".to_owned(),
    })
}

fn moving(backup: &Backup, taken: &Taken) -> Option<Outcome> {
    let here = Path::new(&backup.backup_path);
    let Some(other) = Move::of(backup) else {
        return completed(backup, here, &[]);
    };
    let (Move::To(there) | Move::From(there)) = &other;
    let there = Path::new(there);
    // Only the way to a place leads through a partial.
    let partial = matches!(other, Move::To(_)).then(|| partial_path(there));
    let rest = |whole: &Locked, copy: Option<&Path>| {
        let paths = partial.as_deref().into_iter().chain(copy);
        remove_rest(backup, taken, whole, paths)
    };
    match place(here) {
        Place::Busy => None,
        // Not yet recorded, or recorded and the old one not yet removed: what the record points
        // to is whole.
        Place::Abandoned(whole) => completed(backup, here, &rest(&whole, Some(there))?),
        Place::Empty => match place(there) {
            Place::Busy => None,
            Place::Abandoned(whole) if is_its_archive(backup, taken, &whole) => {
                for dir in [there, here].into_iter().filter_map(Path::parent) {
                    // A directory that is gone or cannot be synced makes the file no less whole.
                    let _ = sync_dir(dir);
                }
                completed(backup, there, &rest(&whole, None)?)
            }
            _ => completed(backup, here, &[]),
        },
    }
}

/// Where files of a move may be.
fn places(backup: &Backup) -> Vec<String> {
    match Move::of(backup) {
        Some(Move::To(other) | Move::From(other)) => {
            let partial = partial_path(Path::new(&other));
            vec![other, partial.to_string_lossy().into_owned()]
        }
        None => Vec::new(),
    }
}

fn completed(backup: &Backup, path: &Path, stays: &[String]) -> Option<Outcome> {
    let mut completed = backup.clone();
    Move::end(&mut completed);
    completed.status = Status::Completed;
    completed.backup_path = path.to_str()?.to_owned();
    let mut reason = match path.symlink_metadata() {
        Ok(_) => format!("its move was interrupted; it is '{}'", path.display()),
        Err(_) => "its move was interrupted; the archive is missing".to_owned(),
    };
    for file in stays {
        reason.push_str(&format!("; {file}"));
    }
    Some(Outcome {
        becomes: Some(completed),
        reason,
    })
}

/// Removes what a move left beside the whole archive, and tells what stays. Only a partial,
/// another name of the archive, and what has its size and time can come from the move, whose
/// copies were compared when they were made; and of these only a partial goes without proof that
/// the archive is another file.
fn remove_rest<'a>(
    backup: &Backup,
    taken: &Taken,
    whole: &Locked,
    paths: impl Iterator<Item = &'a Path>,
) -> Option<Vec<String>> {
    let mut stays = Vec::new();
    for path in paths.filter(|path| !is_anothers(backup, taken, path)) {
        if matches!(path.symlink_metadata(), Err(error) if is_absent(&error)) {
            continue;
        }
        let remove = || {
            // Before it is held: it may be the file that is held already.
            if !is_partial(path) {
                prove_apart(path, &whole.path)?;
            }
            if whole.is_at(path)? {
                return std::fs::remove_file(path);
            }
            match lock(path)? {
                // An empty one kept the name for a rename that did not come.
                Some(held)
                    if is_partial(path) || held.size_bytes == 0 || held.looks_like(whole)? =>
                {
                    held.unlink()
                }
                Some(_) => Err(std::io::Error::other("it has another size or time")),
                None => Ok(()),
            }
        };
        match remove() {
            Ok(()) => drop(sync_dir(path.parent()?)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            // Were it left for the next session, the backup could not be used until then.
            Err(error) => stays.push(format!("'{}' stays: {error}", path.display())),
        }
    }
    Some(stays)
}

fn is_partial(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "partial")
}

fn is_its_archive(backup: &Backup, taken: &Taken, held: &Locked) -> bool {
    backup.backup_size == Some(held.size_bytes) && !is_anothers(backup, taken, &held.path)
}

/// Whether another record has its archive there.
fn is_anothers(backup: &Backup, taken: &Taken, path: &Path) -> bool {
    let owner = path.to_str().and_then(|path| taken.get(path));
    owner.is_some_and(|(id, _)| *id != backup.id)
}

/// Removes to last; `None` where it cannot, and the next session tries again.
fn unlink(held: &Locked) -> Option<()> {
    held.unlink().ok()?;
    sync_dir(held.path.parent()?).ok()
}
