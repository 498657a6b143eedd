//! The program: reads the catalog once, shows the list, prints the chosen records.
//!
//! The catalog is closed before the first archive is inspected and the screen drawn.

use std::collections::HashSet;
use std::fs::File;

use anyhow::Result;
use bk_cli::Arguments;
use bk_cli::home;
use bk_cli::listing::{self, FileStatus, Listed};
use bk_cli::operands::{self, NoOperands};
use bk_cli::output::{Output, is_colour_wanted};
use bk_schema::clock;
use bk_schema::lines::Line;
use bk_schema::record::{Backup, Status};
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::signals::ended_by;
use signal_hook::consts::SIGINT;

use crate::cells::Candidate;
use crate::dialogue::{Dialogue, End};
use crate::flags::{HEADER, ONE, PROGRAM};
use crate::state::State;
use crate::terminal;

/// The whole program.
///
/// # Errors
/// Mistakes on the command line, bad input, a catalog that cannot be read, no terminal.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let now = clock::now();
    let home = home::from_arguments(&PROGRAM, arguments, now)?;
    let mut output = Output::new(arguments)?;
    let header = arguments.text(&HEADER)?;
    let tty = terminal::open()?;
    let given = operands::read(arguments, NoOperands::StdinOrCatalog)?;

    let (listed, status) = candidates(&home, given)?;
    if listed.is_empty() {
        PROGRAM.warn("no backups to choose from");
        return Ok(bk_cli::SOME_FAILED);
    }
    let zone = bk_cli::zone::local();
    let items = listed.into_iter().map(|one| Candidate::new(one, &zone));
    let mut state = State::new(items.collect(), now);
    state.header = header.map(str::to_owned);
    state.only_one = arguments.has(&ONE);
    state.is_colour = is_colour_wanted();
    match show(home, tty, state)? {
        End::Chosen(chosen) => {
            listing::print(&mut output, chosen)?;
            Ok(status)
        }
        End::Left => Ok(ended_by(u8::try_from(SIGINT)?)),
        End::Signal(signal) => Ok(ended_by(signal)),
    }
}

fn show(home: Home, tty: File, state: State) -> Result<End> {
    Dialogue::begin(home, tty, state)?.run()
}

/// The backups to choose from: the given ones, or all available ones. Newest first, those from the
/// future last.
fn candidates(home: &Home, given: Option<Vec<Line>>) -> Result<(Vec<Listed>, u8)> {
    let mut status = bk_cli::SUCCESS;
    let mut listed = Vec::new();
    let is_given = given.is_some();
    let found: Vec<bk_store::backups::Found> = match given {
        None => {
            let rows = catalog::read(home, |session| session.backups())?;
            let plain = |row: Result<Backup, _>| Ok((row?, serde_json::Map::new()));
            rows.into_iter().map(plain).collect()
        }
        Some(lines) => catalog::resolve(home, lines)?,
    };
    let mut seen = HashSet::new();
    for row in found {
        match row {
            Ok((backup, object)) => {
                if seen.insert(backup.id) {
                    let mut one = Listed::stat(home, backup);
                    one.pass_through(object);
                    listed.push(one);
                }
            }
            Err(error) => status = PROGRAM.report(&error),
        }
    }
    if !is_given {
        let is_available = |one: &Listed| {
            one.backup.status == Status::Completed && one.file_status == FileStatus::Available
        };
        listed.retain(is_available);
    }
    // One of unknown age must not appear as the newest.
    let age = |one: &Listed| {
        let created = one.backup.created_at;
        (
            !clock::is_in_future(created, home.now),
            created,
            one.backup.id,
        )
    };
    listed.sort_by_key(age);
    listed.reverse();
    Ok((listed, status))
}
