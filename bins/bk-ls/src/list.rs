//! Lists: one reading of the catalog, then a look at each archive, then the lines.
//!
//! The catalog is closed before the first archive is looked at and the first line printed.

use std::collections::HashSet;

use anyhow::{Result, bail};
use bk_cli::home;
use bk_cli::listing::{self, Listed};
use bk_cli::operands::{self, Without};
use bk_cli::output::Output;
use bk_cli::unread;
use bk_cli::{Arguments, UsageError};
use bk_schema::clock;
use bk_schema::record::Backup;
use bk_store::catalog;
use bk_store::home::Home;
use serde_json::{Map, Value};

use crate::files;
use crate::filter::Criteria;
use crate::flags::{FILES, FORCE_CLOCK, LONG, PROGRAM};
use crate::long;

/// The whole program.
///
/// # Errors
/// Mistakes on the command line, bad input, a catalog that cannot be read.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let now = clock::now();
    let home = home::from_arguments(&PROGRAM, arguments, now)?;
    let mut output = Output::new(arguments)?;
    let mut criteria = Criteria::new(arguments, now)?;
    if arguments.has(&LONG) && arguments.has(&FILES) {
        return Err(UsageError("--long and --files exclude each other".into()).into());
    }
    let given = operands::given(arguments, Without::Catalog)?;
    if given.is_none() {
        unread::check_no_record("'bk-ls -' reads them, </dev/null says that none are meant")?;
    }
    let is_stdin = arguments.operands == ["-"];

    let mut status = bk_cli::DONE;
    let mut jump = None;
    let found: Vec<_> = match given {
        Some(lines) if lines.is_empty() => Vec::new(),
        given => catalog::read(&home, |session| {
            if criteria.is_of_old() && !arguments.has(&FORCE_CLOCK) {
                jump = session.clock_jump(now)?;
            }
            criteria.here = session.host()?;
            session.found(given)
        })?,
    };
    let mut known = Vec::new();
    for row in found {
        match row {
            Ok(row) => known.push(row),
            Err(error) => status = PROGRAM.report(&error),
        }
    }
    if !is_stdin {
        let mut seen = HashSet::new();
        known.retain(|(backup, _)| seen.insert(backup.id));
        known.sort_by_key(|(backup, _)| (backup.created_at, backup.id));
    }
    if criteria.is_of_newest()
        && let Some(text) = clock::warning(known.iter().map(|(backup, _)| backup), now)
    {
        PROGRAM.warn(&text);
    }
    // One after the other, as a large catalog would fill the memory.
    let mut selected = criteria
        .select(known, now, |row| look(&home, row))
        .peekable();

    if let Some(jump) = jump.filter(|_| selected.peek().is_some()) {
        bail!(
            "cannot tell what is expired or old: {jump}: if it is right, wait for a day, or go on with --force-clock"
        );
    }
    if output.is_table() && selected.peek().is_none() {
        PROGRAM.warn("there is no such backup");
    } else if arguments.has(&FILES) {
        files::print(&mut output, &selected.collect::<Vec<_>>(), |error| {
            status = PROGRAM.report(&error);
        })?;
    } else if output.is_table() && arguments.has(&LONG) {
        long::print(&mut output, &selected.collect::<Vec<_>>())?;
    } else {
        listing::print(&mut output, selected)?;
    }
    Ok(status)
}

fn look(home: &Home, (backup, object): (Backup, Map<String, Value>)) -> Listed {
    let mut listed = Listed::look(home, backup);
    listed.pass(object);
    listed
}
