//! Records the times of the rounds in the catalog, so that a clock that jumped is noticed.
//!
//! The rule is in bk-schema's clock module.

use anyhow::{Context, Result};
use bk_schema::clock::{self, Jump, Rounds};
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::trust::GAP;

use crate::flags::PROGRAM;

/// Counts a round; returns the jump of the clock because of which no retention is to run. Without
/// an earlier round, the newest event stands for it. A round that cannot be recorded is reported,
/// and backups are made all the same.
pub(crate) fn count(home: &Home, status: &mut u8) -> Result<Option<Jump>> {
    let (old, newest, gap_days) = catalog::read(home, |session| {
        let newest = session.newest_event(clock::latest_plausible(home.now))?;
        Ok((session.rounds()?, newest, session.clock_gap_days()?))
    })?;
    let last = old.unwrap_or_else(|| Rounds::of(newest.unwrap_or(home.now)));
    let rounds = last.with(home.now, gap_days);
    if old.is_none_or(|old| rounds.differs_from(&old)) {
        let written = catalog::write(home, |session| session.set_rounds(&rounds));
        if let Err(error) = written.context("cannot record the round") {
            *status = PROGRAM.report(&error);
        }
    }
    Ok(rounds.jump())
}

/// Sets how many days may pass between two rounds.
pub(crate) fn set_gap(home: &Home, days: u32) -> Result<()> {
    catalog::check_there(home)?;
    catalog::write(home, |session| session.set_setting(GAP, &days.to_string()))
}
