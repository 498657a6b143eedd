//! What came of verifications goes to the ledger and into the records, if those are still the ones
//! that were verified: all in one session, whatever they are called by now.
//!
//! Knows no archive and prints nothing.

use std::collections::BTreeMap;

use anyhow::{Error, Result};
use bk_schema::event::Event;
use bk_schema::lines::Identity;
use bk_schema::record::{Backup, Status};
use bk_schema::verified::LastVerified;
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::rows::Unknown;
use serde_json::json;

use crate::verdict::Verdict;

/// What became of a record while its archive was checked.
pub(crate) enum Fate {
    /// It has the verdict now.
    Kept(Backup),
    /// It is no longer in the catalog, or about to go.
    Gone,
    /// It tells of another place or another content now.
    Changed(Backup),
    /// It cannot be read.
    Bad(Error),
}

/// Keeps verdicts.
///
/// # Errors
/// As [`catalog::write`].
pub(crate) fn keep(home: &Home, verdicts: &[(&Backup, &Verdict)]) -> Result<Vec<Fate>> {
    catalog::write(home, |session| {
        let identity = |(backup, _): &(&Backup, _)| Identity {
            id: Some(backup.id),
            name: None,
        };
        let rows = session.find(&verdicts.iter().map(identity).collect::<Vec<_>>())?;
        // One that was given twice is changed once.
        let mut kept = BTreeMap::new();
        let mut fates = Vec::new();
        for ((checked, verdict), row) in verdicts.iter().zip(rows) {
            let row = row.map(|row| kept.get(&row.id).cloned().unwrap_or(row));
            let fate = fate(checked, verdict, row)?;
            if let Fate::Kept(backup) = &fate {
                kept.insert(backup.id, backup.clone());
            }
            fates.push(fate);
        }
        session.update_all(&kept.into_values().collect::<Vec<_>>())?;
        let all = verdicts.iter().zip(&fates);
        let events = all.filter_map(|((checked, verdict), fate)| event(checked, verdict, fate));
        session.log_all(&events.collect::<Vec<_>>())?;
        Ok(fates)
    })
}

fn fate(checked: &Backup, verdict: &Verdict, row: Result<Backup>) -> Result<Fate> {
    let mut backup = match row {
        Ok(backup) if backup.status == Status::Deleting => return Ok(Fate::Gone),
        Ok(backup) => backup,
        Err(error) if error.is::<Unknown>() => return Ok(Fate::Gone),
        Err(error) => return Ok(Fate::Bad(error)),
    };
    let bytes = |it: &Backup| (it.backup_size, it.backup_hash.clone());
    let place = |it: &Backup| (it.status, it.backup_path.clone());
    // What was found good was moved as it is, if it was; what was not, may be so elsewhere.
    let is_elsewhere = !verdict.ok && place(&backup) != place(checked);
    if bytes(&backup) != bytes(checked) || is_elsewhere {
        return Ok(Fate::Changed(backup));
    }
    let last = LastVerified {
        at: verdict.checked_at,
        level: verdict.level.name().to_owned(),
        ok: verdict.ok,
    };
    last.put(&mut backup)?;
    Ok(Fate::Kept(backup))
}

fn event<'a>(checked: &'a Backup, verdict: &Verdict, fate: &'a Fate) -> Option<Event<'a>> {
    let backup = match fate {
        Fate::Kept(backup) => backup,
        // That it is missing is what removal means.
        Fate::Gone if !verdict.is_missing() => checked,
        Fate::Gone | Fate::Changed(_) | Fate::Bad(_) => return None,
    };
    Some(Event {
        backup: Some((backup.id, &backup.backup_name)),
        event: "verify",
        ok: verdict.ok,
        details: json!({
            "level": verdict.level,
            "seconds": verdict.seconds,
            "bytes": verdict.bytes,
            "problems": verdict.problems,
        }),
    })
}
