//! What came of a verification goes to the ledger and into the record, if that is still the one
//! that was verified.
//!
//! Knows no archive and prints nothing.

use anyhow::Result;
use bk_schema::catalog::{self, Event, Session};
use bk_schema::home::Home;
use bk_schema::record::{Backup, Status};
use bk_schema::verified::LastVerified;
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
}

/// Keeps verdicts, all in one session.
///
/// # Errors
/// As [`catalog::write`].
pub(crate) fn keep(home: &Home, verdicts: &[(&Backup, &Verdict)]) -> Result<Vec<Fate>> {
    catalog::write(home, |session| {
        let keep = |(backup, verdict): &(&Backup, &Verdict)| keep_one(session, backup, verdict);
        verdicts.iter().map(keep).collect()
    })
}

fn keep_one(session: &Session<'_>, checked: &Backup, verdict: &Verdict) -> Result<Fate> {
    let now = session.named(&checked.backup_name)?;
    let is_gone = |it: &Backup| it.id != checked.id || it.status == Status::Deleting;
    let Some(mut backup) = now.filter(|it| !is_gone(it)) else {
        // That it is missing is what removal means.
        if !verdict.is_missing() {
            log(session, checked, verdict)?;
        }
        return Ok(Fate::Gone);
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
    session.update(&backup)?;
    log(session, checked, verdict)?;
    Ok(Fate::Kept(backup))
}

fn log(session: &Session<'_>, checked: &Backup, verdict: &Verdict) -> Result<()> {
    session.log(&Event {
        backup: Some((checked.id, &checked.backup_name)),
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
