//! Compares two backups, or one with its sources, and prints what changed.
//!
//! Knows no manifest format.

use std::collections::HashSet;
use std::io::{IsTerminal, stderr};

use anyhow::Result;
use bk_cli::index::complete;
use bk_cli::{Arguments, Output, SOME_FAILED, SUCCESS, UsageError, zone};
use bk_schema::globs::Globs;
use bk_schema::manifest::{Entry, EntryType, parts};
use bk_store::Home;

use crate::change::{Change, Kind};
use crate::content::{Hashes, of_archive, of_live};
use crate::flags::{CONTENT, LIVE, PROGRAM, STAT};
use crate::join::join;
use crate::line::{self, Line};
use crate::live::Live;
use crate::sides::{self, New, Sides};
use crate::totals::{self, Totals};

/// The exit status where something changed, as that of diff(1).
const DIFFERENT: u8 = 1;
/// The exit status where it cannot be told.
const TROUBLE: u8 = 2;

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    compare(arguments, &home, output).or_else(|error| Ok(trouble(PROGRAM.report(&error))))
}

/// What failed is no difference.
fn trouble(status: u8) -> u8 {
    match status {
        SOME_FAILED => TROUBLE,
        other => other,
    }
}

fn compare(arguments: &Arguments, home: &Home, mut output: Output) -> Result<u8> {
    let at = arguments.before_dashes.unwrap_or(arguments.operands.len());
    let (named, patterns) = arguments.operands.split_at(at);
    let texts = patterns.iter().map(|it| {
        let text = it.to_str();
        text.ok_or_else(|| UsageError(format!("'{}' is not UTF-8", it.display())))
    });
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let globs = Globs::new(texts).map_err(|error| UsageError(format!("{error:#}")))?;
    let mut sides = Sides::find(home, named, arguments.has(&LIVE))?;
    let mut status = SUCCESS;
    let backups = sides.backups().cloned().collect();
    complete(&PROGRAM, home, backups, Some(sides::read), &mut status)?;
    if status != SUCCESS {
        return Ok(trouble(status));
    }
    if let New::Live(live) = &mut sides.new {
        live.follow_links(sides::entries(home, &sides.old)?)?;
    }
    let mut changes = changes(home, &sides, &globs, arguments.has(&CONTENT))?;
    if !arguments.has(&CONTENT) {
        for backup in sides.backups().filter(|it| !sides::knows_inodes(home, it)) {
            let name = &backup.backup_name;
            PROGRAM.warn(&format!(
                "warning: nothing tells the inodes of '{name}': a file of the same size and time counts as the same; --content reads it"
            ));
        }
    }
    for glob in globs.unmatched() {
        PROGRAM.warn(&format!(
            "warning: '{}' matches nothing on either side",
            glob.escape_debug()
        ));
    }
    if let New::Live(live) = &sides.new {
        if let Some(streams) = live.streams() {
            PROGRAM.warn(&format!(
                "{streams}: not compared, as it came from a command"
            ));
        }
        leave_out_problems(live, &mut changes, &mut status);
    }
    if arguments.has(&CONTENT) {
        changes = settle(&sides, changes, &mut status)?;
    }
    changes.sort_by(|one, other| parts(&one.path).cmp(parts(&other.path)));
    print(&mut output, &sides, &changes, arguments.has(&STAT))?;
    Ok(match (status, changes.is_empty()) {
        (SUCCESS, true) => SUCCESS,
        (SUCCESS, false) => DIFFERENT,
        (failed, _) => trouble(failed),
    })
}

/// What changed, as far as manifests tell, in no order.
fn changes(home: &Home, sides: &Sides, globs: &Globs, is_exact: bool) -> Result<Vec<Change>> {
    let old = sides::entries(home, &sides.old)?;
    let new = match &sides.new {
        New::Backup(backup) => sides::entries(home, backup)?,
        New::Live(live) => live.entries(),
    };
    let mut changes = Vec::new();
    join(old, new, &mut |old, new| {
        let is_wanted = old
            .as_ref()
            .or(new.as_ref())
            .is_some_and(|it| is_wanted(globs, it));
        let is_stream = |it: &Entry| match &sides.new {
            New::Backup(_) => false,
            New::Live(live) => live.is_stream(&it.path),
        };
        if is_wanted && !old.as_ref().is_some_and(is_stream) {
            changes.extend(Change::of(old, new, is_exact));
        }
        Ok(())
    })?;
    Ok(changes)
}

/// Whether its name, or that of a directory that it is in, is asked for.
fn is_wanted(globs: &Globs, entry: &Entry) -> bool {
    let path = &entry.path;
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    globs.is_empty()
        || globs.matches(path, entry.entry_type == EntryType::Directory)
        || ends
            .into_iter()
            .any(|(at, _)| globs.matches(&path[..at], true))
}

/// What could not be looked at has not been removed.
fn leave_out_problems(live: &Live, changes: &mut Vec<Change>, status: &mut u8) {
    for (name, problem) in live.problems() {
        let path = problem.path.display();
        PROGRAM.warn(&format!("cannot look at '{path}': {}", problem.reason));
        *status = SOME_FAILED;
        let is_below = |path: &[u8]| {
            let rest = path.strip_prefix(&*name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        changes.retain(|it| it.kind != Kind::Removed || !is_below(&it.path));
    }
}

/// Reads the files that are in doubt. Those that cannot be read stay what they seemed.
fn settle(sides: &Sides, changes: Vec<Change>, status: &mut u8) -> Result<Vec<Change>> {
    let doubts = changes.iter().filter(|it| it.is_in_doubt());
    let doubts: HashSet<&[u8]> = doubts.map(|it| &*it.path).collect();
    if doubts.is_empty() {
        return Ok(changes);
    }
    let old = of_archive(&sides.old, &doubts)?;
    let new: Hashes = match &sides.new {
        New::Backup(backup) => of_archive(backup, &doubts)?,
        New::Live(live) => of_live(live, &doubts, &mut |error| {
            *status = PROGRAM.report(error);
        }),
    };
    let settled = changes.into_iter().filter_map(|change| {
        if !change.is_in_doubt() {
            return Some(change);
        }
        match (old.get(&change.path), new.get(&change.path)) {
            (Some(old), Some(new)) => change.settle(old == new),
            _ => (change.kind != Kind::InDoubt).then_some(change),
        }
    });
    Ok(settled.collect())
}

fn print(output: &mut Output, sides: &Sides, changes: &[Change], is_stat: bool) -> Result<()> {
    let totals = Totals::of(changes);
    let new = sides.new.backup().map_or("its sources".to_owned(), |it| {
        format!("'{}'", it.backup_name)
    });
    match (is_stat, output.is_table()) {
        (true, true) => output.table(&totals::COLUMNS, &totals.rows())?,
        (true, false) => output.line(&totals)?,
        (false, true) if changes.is_empty() => {}
        (false, true) => {
            let zone = zone::local();
            let rows: Vec<_> = changes.iter().map(|it| line::row(it, &zone)).collect();
            output.table(&line::COLUMNS, &rows)?;
        }
        (false, false) => {
            let backups = (&sides.old, sides.new.backup());
            for change in changes {
                output.line(&Line::new(change, backups))?;
            }
        }
    }
    output.flush()?;
    if !is_stat && stderr().is_terminal() {
        PROGRAM.warn(&format!(
            "'{}' to {new}: {}",
            sides.old.backup_name,
            totals.summary()
        ));
    }
    Ok(())
}
