//! The program: reads the catalog once, shows the list, prints the chosen records.
//!
//! The catalog is closed before the first archive is inspected and the screen drawn.

use std::cmp::Reverse;
use std::collections::hash_map::{self, HashMap};
use std::io::IsTerminal;

use anyhow::Result;
use bk_cli::listing::{FileStatus, Listed};
use bk_cli::output::is_colour_wanted;
use bk_cli::{Arguments, Output, operands};
use bk_schema::clock;
use bk_schema::lines::Line;
use bk_schema::record::Status;
use bk_store::signals::ended_by;
use bk_store::{Home, catalog};
use serde_json::{Map, Value};
use signal_hook::consts::SIGINT;

use crate::cells::Candidate;
use crate::chosen::{self, Chosen};
use crate::dialogue::{Dialogue, End};
use crate::flags::{HEADER, ONE, PROGRAM};
use crate::state::State;
use crate::terminal;

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, mut output: Output) -> Result<u8> {
    let now = home.now;
    let header = arguments.text(&HEADER)?;
    let tty = terminal::open()?;
    let given = match arguments.operands.is_empty() && std::io::stdin().is_terminal() {
        true => None,
        false => Some(operands::read(arguments)?),
    };

    let is_given = given.is_some();
    let Candidates {
        listed,
        further,
        known_count,
        status,
    } = candidates(&home, given)?;
    if listed.is_empty() {
        let why = match (is_given, known_count, status) {
            (true, _, bk_cli::SUCCESS) => ": the input names none",
            // What it names was reported.
            (true, ..) => "",
            (false, 0, _) => ": 'bk-create DIR' makes the first one",
            (false, ..) => ": no archive is available; bk-ls shows the state of each",
        };
        PROGRAM.warn(&format!("no backups to choose from{why}"));
        return Ok(bk_cli::SOME_FAILED);
    }
    let zone = bk_cli::zone::local();
    let items = listed.into_iter().map(|one| Candidate::new(one, &zone));
    let mut state = State::new(items.collect(), now);
    state.header = header.map(str::to_owned);
    state.only_one = arguments.has(&ONE);
    state.is_colour = is_colour_wanted();
    state.zone = zone;
    match Dialogue::begin(home, tty, state)?.run()? {
        End::Chosen(chosen) => {
            chosen::print(&mut output, with_further(chosen, further))?;
            Ok(status)
        }
        End::Left => Ok(ended_by(u8::try_from(SIGINT)?)),
        End::Signal(signal) => Ok(ended_by(signal)),
    }
}

/// The backups to choose from.
struct Candidates {
    /// Newest first, those from the future last.
    listed: Vec<Listed>,
    /// Further lines of input for the same backup that tell another file in it, as bk-find does.
    further: HashMap<i64, Vec<Map<String, Value>>>,
    /// How many there are, available or not.
    known_count: usize,
    status: u8,
}

/// The given backups, or all available ones.
fn candidates(home: &Home, given: Option<Vec<Line>>) -> Result<Candidates> {
    let mut status = bk_cli::SUCCESS;
    let mut listed = Vec::new();
    let is_given = given.is_some();
    let found = catalog::resolve(home, given)?;
    let mut further = HashMap::new();
    for (backup, object) in PROGRAM.report_errors(found, &mut status) {
        match further.entry(backup.id) {
            hash_map::Entry::Vacant(first) => {
                first.insert(Vec::new());
                listed.push(Listed::stat(home, backup).pass_through(object));
            }
            hash_map::Entry::Occupied(mut lines) if object.contains_key("path") => {
                lines.get_mut().push(object);
            }
            hash_map::Entry::Occupied(_) => {}
        }
    }
    let known_count = listed.len();
    if !is_given {
        let is_available = |one: &Listed| {
            one.backup.status == Status::Completed && one.file_status == FileStatus::Available
        };
        listed.retain(is_available);
    }
    // One of unknown age must not appear as the newest.
    listed.sort_by_key(|one| {
        let (created, id) = (one.backup.created_at, one.backup.id);
        Reverse((!clock::is_in_future(created, home.now), created, id))
    });
    Ok(Candidates {
        listed,
        further,
        known_count,
        status,
    })
}

/// Of a backup as a whole, also its further lines.
fn with_further(
    chosen: Vec<Chosen>,
    mut further: HashMap<i64, Vec<Map<String, Value>>>,
) -> Vec<Chosen> {
    let all = chosen.into_iter().flat_map(|one| {
        let mut lines = Vec::new();
        if let Chosen::Backup(listed) = &one {
            let objects = further.remove(&listed.backup.id).unwrap_or_default();
            let again = || Listed::new(listed.backup.clone(), listed.file_status);
            let more = objects.into_iter().map(|it| again().pass_through(it));
            lines.extend(more.map(|it| Chosen::Backup(Box::new(it))));
        }
        lines.insert(0, one);
        lines
    });
    all.collect()
}
