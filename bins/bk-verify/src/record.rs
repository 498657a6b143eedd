//! What came of verifications goes to the ledger and into the records, if those are still the ones
//! that were verified: all in one session, whatever they are called by now.
//!
//! Knows no archive and prints nothing.

use std::collections::BTreeMap;

use anyhow::{Error, Result};
use bk_schema::event::Event;
use bk_schema::record::{Backup, Status};
use bk_schema::verified::LastVerified;
use bk_store::Session;
use bk_store::rows::Unknown;
use serde_json::{Map, Value, json};

use crate::verdict::Verdict;

/// A backup that is to be verified.
pub(crate) struct Due {
    pub(crate) backup: Backup,
    /// The line that it came by.
    pub(crate) line: Map<String, Value>,
    /// How often its record was another one once its archive was checked.
    pub(crate) tries: u32,
}

/// A backup whose archive was checked.
pub(crate) struct Checked {
    pub(crate) due: Due,
    pub(crate) verdict: Verdict,
    /// `None` as long as the verdict is not recorded.
    pub(crate) row: Option<Row>,
}

/// What became of a record while its archive was checked.
pub(crate) enum Row {
    /// It has the verdict now.
    Verified(Backup),
    /// It is no longer in the catalog, or about to go.
    Gone,
    /// It tells of another place or another content now.
    Changed(Backup),
    /// It cannot be read.
    Bad(Error),
}

/// Records verdicts.
pub(crate) fn record(session: &Session<'_>, part: &mut [Checked]) -> Result<()> {
    let found = session.find_ids(part.iter().map(|checked| checked.due.backup.id))?;
    // One that was given twice is changed once.
    let mut verified = BTreeMap::new();
    let mut rows = Vec::new();
    for (checked, found) in part.iter().zip(found) {
        let found = found.map(|it| verified.get(&it.id).cloned().unwrap_or(it));
        let row = row(&checked.due.backup, &checked.verdict, found)?;
        if let Row::Verified(backup) = &row {
            verified.insert(backup.id, backup.clone());
        }
        rows.push(row);
    }
    session.update_all(&verified.into_values().collect::<Vec<_>>())?;
    let events = part.iter().zip(&rows);
    let events = events.filter_map(|(it, row)| event(it, row));
    session.log_all(&events.collect::<Vec<_>>())?;
    for (checked, row) in part.iter_mut().zip(rows) {
        checked.row = Some(row);
    }
    Ok(())
}

fn row(checked: &Backup, verdict: &Verdict, found: Result<Backup>) -> Result<Row> {
    let mut backup = match found {
        Ok(backup) if backup.status == Status::Deleting => return Ok(Row::Gone),
        Ok(backup) => backup,
        Err(error) if error.is::<Unknown>() => return Ok(Row::Gone),
        Err(error) => return Ok(Row::Bad(error)),
    };
    let bytes = |it: &Backup| (it.backup_size, it.backup_hash.clone());
    let place = |it: &Backup| (it.status, it.backup_path.clone());
    // What was found good was moved as it is, if it was; what was not, may be so elsewhere.
    let is_elsewhere = !verdict.ok && place(&backup) != place(checked);
    if bytes(&backup) != bytes(checked) || is_elsewhere {
        return Ok(Row::Changed(backup));
    }
    let last = LastVerified {
        at: verdict.checked_at,
        level: verdict.level.name().to_owned(),
        ok: verdict.ok,
    };
    last.put(&mut backup)?;
    Ok(Row::Verified(backup))
}

fn event<'a>(checked: &'a Checked, row: &'a Row) -> Option<Event<'a>> {
    let verdict = &checked.verdict;
    let backup = match row {
        Row::Verified(backup) => backup,
        // That it is missing is what removal means.
        Row::Gone if !verdict.is_missing() => &checked.due.backup,
        Row::Gone | Row::Changed(_) | Row::Bad(_) => return None,
    };
    let details = json!({
        "level": verdict.level,
        "seconds": verdict.seconds,
        "bytes": verdict.bytes,
        "problems": verdict.problems,
    });
    Some(Event::of(backup, "verify", verdict.ok, details))
}
