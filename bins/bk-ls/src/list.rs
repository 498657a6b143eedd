//! Lists backups: reads the catalog once, inspects the archives, prints the lines.
//!
//! The catalog is closed before the first archive is inspected and the first line printed.

use std::collections::HashSet;

use anyhow::{Result, bail};
use bk_cli::detail::{NAME_WIDTH, fields};
use bk_cli::listing::{self, Listed};
use bk_cli::{Arguments, Output, Tone, operands, unread};
use bk_schema::clock;
use bk_schema::visible::visible;
use bk_store::{Home, catalog};

use crate::files;
use crate::filter::Criteria;
use crate::flags::{FILES, FORCE_CLOCK, LONG, PROGRAM};

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, mut output: Output) -> Result<u8> {
    let now = home.now;
    let mut criteria = Criteria::new(arguments, now)?;
    arguments.one_of(&[(LONG, ()), (FILES, ())])?;
    let given = operands::read_or_all(arguments)?;
    let is_given = given.is_some();
    if !is_given {
        unread::check_no_record("use 'bk-ls -' to read them, or </dev/null to ignore them")?;
    }
    let is_stdin = arguments.operands == ["-"];

    let mut status = bk_cli::SUCCESS;
    let mut jump = None;
    let found: Vec<_> = match given {
        Some(lines) if lines.is_empty() => Vec::new(),
        given => catalog::read(&home, |session| {
            if criteria.selects_old() && !arguments.has(&FORCE_CLOCK) {
                jump = session.clock_jump(now)?;
            }
            criteria.ask(session)?;
            session.found(given)
        })?,
    };
    let is_empty = !is_given && found.is_empty();
    let mut rows: Vec<_> = PROGRAM.report_errors(found, &mut status).collect();
    if !is_stdin {
        let mut seen = HashSet::new();
        rows.retain(|(backup, _)| seen.insert(backup.id));
        rows.sort_by_key(|(backup, _)| (backup.created_at, backup.id));
    }
    if criteria.selection.selects_new()
        && let Some(text) = clock::warning(rows.iter().map(|(backup, _)| backup), now)
    {
        PROGRAM.warn(&text);
    }
    // Lazily: the records of a large catalog would fill the memory.
    let mut selected = criteria
        .select(rows, now, |(backup, object)| {
            Listed::stat(&home, backup).pass_through(object)
        })
        .peekable();

    if let Some(jump) = jump.filter(|_| selected.peek().is_some()) {
        bail!(
            "cannot tell what is expired or old: {jump}: if the clock is right, wait a day or use --force-clock"
        );
    }
    if output.is_table() && selected.peek().is_none() {
        PROGRAM.warn(match is_empty {
            true => "no backups yet: 'bk-create DIRECTORY' makes the first",
            false => "no matching backups",
        });
    } else if arguments.has(&FILES) {
        files::print(&mut output, &home, &selected.collect::<Vec<_>>(), |error| {
            status = PROGRAM.report(&error);
        })?;
    } else if output.is_table() && arguments.has(&LONG) {
        print_long(&mut output, &selected.collect::<Vec<_>>())?;
    } else {
        listing::print(&mut output, selected)?;
    }
    Ok(status)
}

/// Every field of each record on a line of its own, with an empty line between two records.
fn print_long(output: &mut Output, all: &[Listed]) -> Result<()> {
    for (at, listed) in all.iter().enumerate() {
        if at > 0 {
            output.text("\n")?;
        }
        for (key, value) in fields(listed) {
            let head = output.painted(&format!("{key:<NAME_WIDTH$}"), Tone::Head);
            output.text(&format!("{head}  {}\n", visible(&value)))?;
        }
        if output.is_closed() {
            break;
        }
    }
    output.flush()
}
