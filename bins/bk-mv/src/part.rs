//! The records of one part of a move, and the sessions that they go through: begun, turned to a
//! copy, ended. Order of writes as the design's section 8 has it.
//!
//! What happens to the files in between, `relocate` does. A record is read anew in each session,
//! so that what others changed in it meanwhile stays.

use std::path::Path;

use anyhow::{Context, Error, Result, anyhow};
use bk_cli::one_line;
use bk_schema::event::Event;
use bk_schema::lines::Identity;
use bk_schema::moving::Move;
use bk_schema::record::{Backup, Status};
use bk_store::archives::advisory_lock::{Locked, lock};
use bk_store::archives::partial::Partial;
use bk_store::session::Session;
use serde_json::json;

use crate::item::Item;
use crate::judge::{Judgement, Taken, judge};
use crate::way::Way;

/// How far one backup has come.
pub(crate) enum State {
    /// Its row is marked, its archive is where it was; nothing else was done.
    Begun,
    /// A whole copy is in the new place; the row still points to the old one.
    Copied,
    /// The row points to the new place; the old one is to be removed.
    Turned,
    /// Nothing is left to be done but to say so in the row.
    Moved,
    /// It stays where it was.
    Stays(Error),
    /// The row is not what it was.
    Again(Box<Backup>),
    /// Neither finished nor undone: the next session settles it by what is where.
    Left(Error),
}

/// One backup on its way.
pub(crate) struct Going {
    pub(crate) item: Item,
    pub(crate) state: State,
    /// Its archive.
    pub(crate) held: Option<Locked>,
    /// The copy that was made of it.
    pub(crate) copy: Option<Partial>,
}

/// Marks the rows of those that may move, with their archives taken. All come back.
///
/// # Errors
/// Those of the catalog.
pub(crate) fn begin(session: &Session<'_>, part: Vec<Item>) -> Result<Vec<Going>> {
    let rows = rows(session, part.iter())?;
    let places: Vec<_> = part.iter().map(|item| item.to.clone()).collect();
    let mut taken = session.taken(&places)?;
    let (mut begun, mut marked) = (Vec::new(), Vec::new());
    for (item, row) in part.into_iter().zip(rows) {
        let mut going = Going {
            item,
            state: State::Begun,
            held: None,
            copy: None,
        };
        going.state = match begin_one(&mut going, row, &mut taken) {
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
fn begin_one(
    going: &mut Going,
    row: Result<Backup>,
    taken: &mut Taken,
) -> Result<(State, Option<Backup>)> {
    let mut row = match judge(&going.item, row?, taken)? {
        Judgement::May(row) => row,
        Judgement::Again(row) => return Ok((State::Again(Box::new(row)), None)),
    };
    let item = &going.item;
    if item.way == Way::None {
        // The same place may be spelled otherwise.
        let changes = row.backup_path != item.to;
        row.backup_path.clone_from(&item.to);
        going.item.backup = row.clone();
        return Ok((State::Moved, changes.then_some(row)));
    }
    let held = lock(Path::new(&item.from)).with_context(|| format!("'{}'", item.from))?;
    let missing = || format!("its archive '{}' is missing", item.from);
    going.held = Some(held.with_context(missing)?);
    row.status = Status::Moving;
    Move::To(item.to.clone()).put(&mut row)?;
    Ok((State::Begun, Some(row)))
}

/// Turns the rows to the copies that are whole.
///
/// # Errors
/// Those of the catalog.
pub(crate) fn turn(session: &Session<'_>, part: &mut [Going]) -> Result<()> {
    let is_copied = |going: &&mut Going| matches!(going.state, State::Copied);
    let mut copied: Vec<_> = part.iter_mut().filter(is_copied).collect();
    let rows = rows(session, copied.iter().map(|going| &going.item))?;
    let mut turned = Vec::new();
    for (going, row) in copied.iter_mut().zip(rows) {
        match row {
            Ok(mut row) => {
                row.backup_path.clone_from(&going.item.to);
                Move::From(going.item.from.clone()).put(&mut row)?;
                turned.push(row);
                going.state = State::Turned;
            }
            Err(error) => {
                if let Some(copy) = &going.copy {
                    copy.remove();
                }
                going.state = State::Stays(error);
            }
        }
    }
    session.update_all(&turned)
}

/// Records what became of a part: rows that are completed again, and the ledger.
///
/// # Errors
/// Those of the catalog.
pub(crate) fn end(session: &Session<'_>, part: &mut [Going]) -> Result<()> {
    let is_marked = |going: &&mut Going| going.held.is_some();
    let mut marked: Vec<_> = part.iter_mut().filter(is_marked).collect();
    let rows = rows(session, marked.iter().map(|going| &going.item))?;
    let mut ended = Vec::new();
    for (going, row) in marked.iter_mut().zip(rows) {
        let path = match &going.state {
            State::Moved => &going.item.to,
            State::Begun | State::Stays(_) => &going.item.from,
            State::Copied | State::Turned | State::Left(_) | State::Again(_) => continue,
        };
        match row {
            Ok(mut row) => {
                Move::end(&mut row);
                row.status = Status::Completed;
                row.backup_path.clone_from(path);
                going.item.backup = row.clone();
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
    let item = &going.item;
    let mut details = json!({ "from": item.from, "to": item.to, "bytes": item.backup.backup_size });
    let ok = match &going.state {
        State::Moved if item.from == item.to => return None,
        State::Moved => {
            details["how"] = json!(item.way);
            true
        }
        State::Stays(error) | State::Left(error) => {
            details["reason"] = one_line(&format!("{error:#}")).into();
            false
        }
        State::Begun | State::Copied | State::Turned | State::Again(_) => return None,
    };
    Some(Event {
        backup: Some((item.backup.id, &item.backup.backup_name)),
        event: "move",
        ok,
        details,
    })
}

fn rows<'a>(
    session: &Session<'_>,
    items: impl Iterator<Item = &'a Item>,
) -> Result<Vec<Result<Backup>>> {
    let identity = |item: &Item| Identity {
        id: Some(item.backup.id),
        name: None,
    };
    session.find(&items.map(identity).collect::<Vec<_>>())
}
