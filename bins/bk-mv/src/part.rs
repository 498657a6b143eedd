//! The rows of one part of a move, and the sessions that they go through: marked, repointed to a
//! copy, recorded.
//!
//! What happens to the files in between, `relocate` does. A record is read anew in each session,
//! so that what others changed in it meanwhile stays.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use bk_cli::{copies, one_line};
use bk_schema::event::Event;
use bk_schema::moving::Move;
use bk_schema::record::{Backup, Status};
use bk_store::Session;
use bk_store::archives::advisory_lock::{Locked, lock};
use bk_store::archives::partial::Partial;
use serde_json::json;

use crate::way::{Transfer, Way};

/// A record that changes each time its archive is inspected is given up.
const TRIES: u32 = 3;

/// A record that allows its move.
#[derive(Debug)]
pub(crate) enum Allowed {
    /// It is as it was when its archive was inspected.
    Now(Backup),
    /// It was changed since: its archive is to be inspected again.
    Changed(Backup),
}

/// The places that are taken, each with the id and the name of its record. What may move takes
/// its new place.
pub(crate) type Taken = HashMap<String, (i64, String)>;

/// How far one backup has come.
pub(crate) enum State {
    /// Its row is marked, its archive is where it was; nothing else was done.
    Begun,
    /// A whole copy is in the new place; the row still points to the old one.
    Copied,
    /// The row points to the new place; the old one is to be removed.
    Repointed,
    /// Nothing is left to be done but to say so in the row.
    Moved,
    /// It stays where it was.
    Stays(Error),
    /// The row is not what it was.
    Changed(Box<Backup>),
    /// Neither finished nor undone: the next session settles it by what is where.
    Left(Error),
}

/// One backup on its way.
pub(crate) struct Going {
    pub(crate) transfer: Transfer,
    pub(crate) state: State,
    /// Its archive, locked where its row is marked.
    pub(crate) archive: Option<Locked>,
    /// The copy that was made of it.
    pub(crate) copy: Option<Partial>,
}

/// Whether a record may move, as it is now in the catalog.
///
/// # Errors
/// Why it may not.
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

/// Marks the rows of those that may move, with their archives locked. All come back.
pub(crate) fn mark(session: &Session<'_>, part: Vec<Transfer>) -> Result<Vec<Going>> {
    let rows = rows(session, part.iter())?;
    let places: Vec<_> = part.iter().map(|transfer| transfer.to.clone()).collect();
    let mut taken = session.taken(&places)?;
    let (mut begun, mut marked) = (Vec::new(), Vec::new());
    for (transfer, row) in part.into_iter().zip(rows) {
        let mut going = Going {
            transfer,
            state: State::Begun,
            archive: None,
            copy: None,
        };
        going.state = match mark_one(&mut going, row, &mut taken) {
            Ok((state, row)) => {
                marked.extend(row);
                state
            }
            Err(error) => State::Stays(error),
        };
        begun.push(going);
    }
    session.update_all(&marked)?;
    Ok(begun)
}

/// How far it comes, and its row where that changes.
fn mark_one(
    going: &mut Going,
    row: Result<Backup>,
    taken: &mut Taken,
) -> Result<(State, Option<Backup>)> {
    let mut row = match check_allowed(&going.transfer, row?, taken)? {
        Allowed::Now(row) => row,
        Allowed::Changed(row) => return Ok((State::Changed(Box::new(row)), None)),
    };
    let transfer = &going.transfer;
    if transfer.way == Way::None {
        // The same place may be spelled otherwise.
        let changes = row.backup_path != transfer.to;
        row.backup_path.clone_from(&transfer.to);
        going.transfer.backup = row.clone();
        return Ok((State::Moved, changes.then_some(row)));
    }
    let archive =
        lock(Path::new(&transfer.from)).with_context(|| format!("'{}'", transfer.from))?;
    let missing = || missing(transfer, &row);
    going.archive = Some(archive.with_context(missing)?);
    row.status = Status::Moving;
    Move::To(transfer.to.clone()).put(&mut row)?;
    Ok((State::Begun, Some(row)))
}

/// Why nothing is there that could move.
pub(crate) fn missing(transfer: &Transfer, row: &Backup) -> String {
    let missing = || format!("its archive '{}' is missing", transfer.from);
    copies::remote_told(row).unwrap_or_else(missing)
}

/// Repoints the rows to the copies that are whole.
pub(crate) fn repoint(session: &Session<'_>, part: &mut [Going]) -> Result<()> {
    let is_copied = |going: &&mut Going| matches!(going.state, State::Copied);
    let mut copied: Vec<_> = part.iter_mut().filter(is_copied).collect();
    let rows = rows(session, copied.iter().map(|going| &going.transfer))?;
    let mut repointed = Vec::new();
    for (going, row) in copied.iter_mut().zip(rows) {
        match row {
            Ok(mut row) => {
                row.backup_path.clone_from(&going.transfer.to);
                Move::From(going.transfer.from.clone()).put(&mut row)?;
                repointed.push(row);
                going.state = State::Repointed;
            }
            Err(error) => {
                if let Some(copy) = &going.copy {
                    copy.remove();
                }
                going.state = State::Stays(error);
            }
        }
    }
    session.update_all(&repointed)
}

/// Records what became of a part: rows that are completed again, and the ledger.
pub(crate) fn record(session: &Session<'_>, part: &mut [Going]) -> Result<()> {
    let is_marked = |going: &&mut Going| going.archive.is_some();
    let mut marked: Vec<_> = part.iter_mut().filter(is_marked).collect();
    let rows = rows(session, marked.iter().map(|going| &going.transfer))?;
    let mut ended = Vec::new();
    for (going, row) in marked.iter_mut().zip(rows) {
        let path = match &going.state {
            State::Moved => &going.transfer.to,
            State::Begun | State::Stays(_) => &going.transfer.from,
            State::Copied | State::Repointed | State::Left(_) | State::Changed(_) => continue,
        };
        match row {
            Ok(mut row) => {
                Move::end(&mut row);
                row.status = Status::Completed;
                row.backup_path.clone_from(path);
                going.transfer.backup = row.clone();
                ended.push(row);
            }
            Err(error) => {
                let text = format!("{error:#}; its archive is '{path}'");
                going.state = State::Stays(anyhow!(text));
            }
        }
    }
    session.update_all(&ended)?;
    let events: Vec<_> = part.iter().filter_map(event).collect();
    session.log_all(&events)
}

fn event(going: &Going) -> Option<Event<'_>> {
    let transfer = &going.transfer;
    let mut details =
        json!({ "from": transfer.from, "to": transfer.to, "bytes": transfer.backup.backup_size });
    let ok = match &going.state {
        State::Moved if transfer.from == transfer.to => return None,
        State::Moved => {
            details["how"] = json!(transfer.way);
            true
        }
        State::Stays(error) | State::Left(error) => {
            details["reason"] = one_line(&format!("{error:#}")).into();
            false
        }
        State::Begun | State::Copied | State::Repointed | State::Changed(_) => return None,
    };
    Some(Event::of(&transfer.backup, "move", ok, details))
}

fn rows<'a>(
    session: &Session<'_>,
    transfers: impl Iterator<Item = &'a Transfer>,
) -> Result<Vec<Result<Backup>>> {
    session.find_ids(transfers.map(|transfer| transfer.backup.id))
}
