//! Changes records: reads all input, finds, checks and changes the records in one transaction,
//! prints the lines.
//!
//! Calls stat(2) on archives, to print whether they exist. A signal before the commit changes
//! nothing.

use std::collections::HashSet;

use anyhow::{Context, Result};
use bk_cli::listing::{self, Listed};
use bk_cli::{Arguments, Output, operands};
use bk_schema::event::Event;
use bk_schema::lines::{Identity, Line};
use bk_schema::record::Backup;
use bk_store::{Home, Session, catalog};

use crate::edit::{Edit, difference};
use crate::flags::PROGRAM;

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, mut output: Output) -> Result<u8> {
    let now = home.now;
    let edit = Edit::new(arguments, now)?;
    let lines = operands::read(arguments)?;
    edit.check_count(lines.len())?;
    if lines.is_empty() {
        return Ok(bk_cli::SUCCESS);
    }
    catalog::check_there(&home)?;
    let wanted: Vec<_> = lines.iter().map(|line| line.identity.clone()).collect();
    let outcomes = catalog::write(&home, |session| set_all(session, &edit, &wanted))?;

    let mut status = bk_cli::SUCCESS;
    let listed = |(outcome, line): (Result<Backup>, Line)| {
        anyhow::Ok(Listed::stat(&home, outcome?).pass_through(line.object))
    };
    let listed = outcomes.into_iter().zip(lines).map(listed);
    let changed: Vec<_> = PROGRAM.report_errors(listed, &mut status).collect();
    listing::print(&mut output, changed)?;
    Ok(status)
}

/// The new state of each record, or why it was not changed.
fn set_all(session: &Session<'_>, edit: &Edit, wanted: &[Identity]) -> Result<Vec<Result<Backup>>> {
    let edited = |found: Result<Backup>| {
        let old = found?;
        let new = edit
            .apply(&old)
            .with_context(|| format!("cannot change '{}'", old.backup_name.escape_debug()))?;
        Ok((old, new))
    };
    let results: Vec<Result<_>> = session.find(wanted)?.into_iter().map(edited).collect();
    // A record that is named twice is changed once.
    let mut seen = HashSet::new();
    let changes: Vec<_> = results
        .iter()
        .flatten()
        .filter(|(old, new)| old != new && seen.insert(old.id))
        .collect();
    write(session, &changes)?;
    Ok(results.into_iter().map(|it| Ok(it?.1)).collect())
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
        events.push(Event::of(old, "set", true, difference(old, new)?));
    }
    session.log_all(&events)
}
