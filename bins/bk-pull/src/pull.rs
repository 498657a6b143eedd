//! The command line: brings archives back from a location, or some files of them; lists what it holds; records it.
//!
//! Knows no protocol.

use anyhow::{Result, ensure};
use bk_cli::entries::by_identity;
use bk_cli::{Arguments, Flag, Output, UsageError, operands};
use bk_offsite::Destination;
use bk_offsite::destination;
use bk_store::Home;

use crate::flags::{
    ADOPT, ALL_HOSTS, CREDENTIALS, DIRECTORY, DRY_RUN, HOST, IDENTITY, LIST, OLDER_THAN, PATH,
    REBUILD, STDOUT,
};
use crate::{adopt, bring, list, paths};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Bring,
    Paths,
    List,
    Adopt,
}

const ACTIONS: [(Flag, Action); 3] = [
    (LIST, Action::List),
    (ADOPT, Action::Adopt),
    (PATH, Action::Paths),
];
/// What each flag goes with, and how that is told.
const USES: [(Flag, &[Action], &str); 8] = [
    (DIRECTORY, &[Action::Bring, Action::Paths], "bringing back"),
    (STDOUT, &[Action::Bring, Action::Paths], "--path"),
    (IDENTITY, &[Action::Bring, Action::Paths], "bringing back"),
    (HOST, &[Action::List, Action::Adopt], "--list and --adopt"),
    (ALL_HOSTS, &[Action::List], "--list"),
    (OLDER_THAN, &[Action::List], "--list"),
    (REBUILD, &[Action::List], "--list"),
    (
        DRY_RUN,
        &[Action::Bring, Action::Adopt],
        "bringing whole archives back and --adopt",
    ),
];

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    let action = arguments.one_of(&ACTIONS)?.unwrap_or(Action::Bring);
    for (flag, actions, told) in USES {
        ensure!(
            actions.contains(&action) || !arguments.has(&flag),
            UsageError(format!("--{} goes with {told}", flag.long))
        );
    }
    let (location, backups) = destination::operands(arguments)?;
    let mut destination = Destination::named(&home, location)?;
    if let Some(file) = arguments.value(&CREDENTIALS) {
        destination.credentials = Some(std::path::absolute(file)?);
    }
    match action {
        Action::Bring | Action::Paths => {
            let asked = by_identity(operands::resolve(backups)?)?;
            let is_of_paths = asked.iter().any(|(_, told)| !told.is_empty());
            if action == Action::Paths || is_of_paths {
                check_paths(arguments)?;
                return paths::run(arguments, &home, &destination, location, asked, output);
            }
            ensure!(
                !arguments.has(&STDOUT),
                UsageError("--stdout goes with --path, or with lines that tell paths".into())
            );
            let lines = asked.into_iter().map(|(line, _)| line).collect();
            bring::run(arguments, &home, &destination, location, lines, output)
        }
        Action::List => list::run(arguments, &home, &destination, location, output),
        Action::Adopt => adopt::run(arguments, &home, &destination, location, output),
    }
}

fn check_paths(arguments: &Arguments) -> Result<()> {
    ensure!(
        !arguments.has(&DRY_RUN),
        UsageError("--dry-run is for whole archives: restoring files changes no other".into())
    );
    Ok(())
}
