//! When the last rounds were, as the catalog remembers it, so that a clock that jumped is known.
//!
//! What that means is in bk-schema's clock module.

use anyhow::{Context, Result};
use bk_schema::clock::{self, Jump, Rounds};
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::trust::GAP;

use crate::flags::PROGRAM;

/// Counts a round, and tells of the jump for which no retention is to run. Where no round is
/// remembered, the newest event stands for the last. One that cannot be written down is told,
/// and is no reason to make no backups.
///
/// # Errors
/// A catalog that cannot be read.
pub(crate) fn count(home: &Home, status: &mut u8) -> Result<Option<Jump>> {
    let (old, newest, gap_days) = catalog::read(home, |session| {
        let newest = session.newest_event(clock::latest_plausible(home.now))?;
        Ok((session.rounds()?, newest, session.clock_gap_days()?))
    })?;
    let last = old.unwrap_or_else(|| Rounds::of(newest.unwrap_or(home.now)));
    let rounds = last.with(home.now, gap_days);
    if old.is_none_or(|old| rounds.differs_from(&old)) {
        let written = catalog::write(home, |session| session.set_rounds(&rounds));
        if let Err(error) = written.context("cannot remember the round") {
            *status = PROGRAM.report(&error);
        }
    }
    Ok(rounds.jump())
}

/// Says how many days may pass between two rounds.
///
/// # Errors
/// Those of the catalog; there is none.
pub(crate) fn set_gap(home: &Home, days: u32) -> Result<()> {
    catalog::check_there(home)?;
    catalog::write(home, |session| session.set_setting(GAP, &days.to_string()))
}
