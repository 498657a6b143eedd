//! Changes records: all of the input, one session that finds, judges and changes them, then the
//! lines.
//!
//! Touches no archive, but to print whether it is there. A signal ends it before the commit, and
//! nothing is changed, or after it.

use std::collections::HashSet;

use anyhow::{Context, Result};
use bk_schema::catalog::{self, Event, Session};
use bk_schema::cli::{self, Arguments};
use bk_schema::clock;
use bk_schema::home::Home;
use bk_schema::lines::Identity;
use bk_schema::listing::{self, Listed};
use bk_schema::operands::{self, Without};
use bk_schema::output::Output;
use bk_schema::record::Backup;

use crate::change::{Change, difference};
use crate::flags::PROGRAM;

/// The whole program.
///
/// # Errors
/// Mistakes on the command line, bad input, a catalog that cannot be written, a name that is
/// taken.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let now = clock::now();
    let home = Home::new(&PROGRAM, arguments, now)?;
    let mut output = Output::new(arguments)?;
    let change = Change::new(arguments, now)?;
    let lines = operands::given(arguments, Without::Stdin)?.unwrap_or_default();
    change.check_count(lines.len())?;
    if lines.is_empty() {
        return Ok(cli::DONE);
    }
    catalog::check_there(&home)?;
    let wanted: Vec<_> = lines.iter().map(|line| line.identity.clone()).collect();
    let outcomes = catalog::write(&home, |session| set_all(session, &change, &wanted))?;

    let (mut changed, mut status) = (Vec::new(), cli::DONE);
    for (outcome, line) in outcomes.into_iter().zip(lines) {
        match outcome {
            Ok(backup) => {
                let mut listed = Listed::look(&home, backup);
                listed.pass(line.object);
                changed.push(listed);
            }
            Err(error) => status = PROGRAM.report(&error),
        }
    }
    listing::print(&mut output, changed)?;
    Ok(status)
}

/// Each record as it is now, or why it was not changed.
fn set_all(
    session: &Session<'_>,
    change: &Change,
    wanted: &[Identity],
) -> Result<Vec<Result<Backup>>> {
    let judge = |found: Result<Backup>| {
        let old = found?;
        let new = change
            .of(&old)
            .with_context(|| format!("cannot change '{}'", old.backup_name.escape_debug()))?;
        Ok((old, new))
    };
    let judged: Vec<Result<_>> = session.find(wanted)?.into_iter().map(judge).collect();
    // A record that is named twice is changed once.
    let mut seen = HashSet::new();
    let changes: Vec<_> = judged
        .iter()
        .flatten()
        .filter(|(old, new)| old != new && seen.insert(old.id))
        .collect();
    write(session, &changes)?;
    Ok(judged.into_iter().map(|it| Ok(it?.1)).collect())
}

fn write(session: &Session<'_>, changes: &[&(Backup, Backup)]) -> Result<()> {
    let all: Vec<_> = changes.iter().map(|(_, new)| new).collect();
    session.update_all(&all)?;
    let mut events = Vec::new();
    for (old, new) in changes {
        if new.backup_name != old.backup_name {
            let cannot = || format!("cannot change '{}'", old.backup_name.escape_debug());
            let renamed = session.rename(old.id, &new.backup_name);
            renamed.with_context(cannot)?;
        }
        events.push(Event {
            backup: Some((old.id, &old.backup_name)),
            event: "set",
            ok: true,
            details: difference(old, new)?,
        });
    }
    session.log_all(&events)
}
