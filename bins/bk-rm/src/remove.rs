//! Removes the given backups, or with `--dry-run` tells what it would remove.
//!
//! All of the input is read and checked first; whether each backup may be removed is decided under
//! the lock, by its record as it is then.

use anyhow::{Error, Result};
use bk_cli::listing::{self, Listed};
use bk_cli::units::human_size;
use bk_cli::{Arguments, Column, Output, Report, copies, operands, zone};
use bk_store::removal::{self, Removal, Remover};
use bk_store::{Home, Session, Signals, catalog, storage};
use serde_json::{Map, Value};

use crate::choice::{Allowed, Choice, Chosen};
use crate::flags::{DRY_RUN, FORCE_PROTECTED, KEEP_FILE, OFFLINE, PROGRAM, REQUIRE_COPY};

const COLUMNS: [Column; 6] = [
    listing::ID,
    listing::TYPE,
    listing::CREATED,
    Column::right("FREED"),
    listing::SOURCE,
    listing::NAME,
];

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    let allowed = Allowed {
        protected: arguments.has(&FORCE_PROTECTED),
        offline: arguments.has(&OFFLINE),
        require_copy: copies::locations(arguments, &REQUIRE_COPY)?,
    };
    let lines = operands::read(arguments)?;
    if lines.is_empty() {
        if output.is_table() {
            PROGRAM.warn("there is nothing to remove");
        }
        return Ok(bk_cli::SUCCESS);
    }
    let signals = Signals::watch()?;
    let removal = Removal {
        home: &home,
        event: "remove",
        keep_file: arguments.has(&KEEP_FILE),
        offline: allowed.offline,
        signals: &signals,
    };
    let mut work = Work {
        removal,
        choice: Choice::new(home.clone(), lines, allowed),
        report: Report::new(output, &COLUMNS),
        status: bk_cli::SUCCESS,
    };
    let done = if arguments.has(&DRY_RUN) {
        work.preview()
    } else {
        removal.run(&mut work)
    };
    work.report_refused();
    // The table, even where something went wrong on the way.
    let ended = work.report.end();
    done.and(ended)?;
    Ok(signals.exit_status(work.status))
}

struct Work<'a> {
    removal: Removal<'a>,
    choice: Choice,
    report: Report,
    status: u8,
}

impl Remover for Work<'_> {
    type With = Map<String, Value>;

    fn choose(&mut self, session: &Session<'_>, at_most: usize) -> Result<Vec<Chosen>> {
        self.choice.next(session, at_most)
    }

    fn tell(&mut self, candidate: Chosen, outcome: Result<u64>) -> Result<()> {
        self.report_refused();
        match outcome {
            Ok(freed_bytes) => self.report(candidate, freed_bytes),
            Err(error) => {
                self.fail(&candidate, error);
                Ok(())
            }
        }
    }
}

impl Work<'_> {
    fn preview(&mut self) -> Result<()> {
        let Removal { home, offline, .. } = self.removal;
        let choose = |session: &Session<'_>| self.choice.next(session, usize::MAX);
        for candidate in catalog::read(home, choose)? {
            let freed = if self.removal.keep_file {
                Ok(0)
            } else {
                removal::would_free(home, &candidate.backup)
            };
            let freed = match freed {
                Err(error) if offline && removal::is_unreachable(&error) => Ok(0),
                freed => freed,
            };
            self.tell(candidate, freed)?;
        }
        Ok(())
    }

    /// Reports one backup as it was, with the bytes that are free now.
    fn report(&mut self, Chosen { backup, with, .. }: Chosen, freed_bytes: u64) -> Result<()> {
        let Removal { home, offline, .. } = self.removal;
        // Why what is given up cannot be reached is no news.
        let listed = Listed::look(home, backup, !offline);
        let row = vec![
            listed.backup.id.to_string().into(),
            listed.backup.backup_type.name().into(),
            listing::time(listed.backup.created_at, &zone::local()).into(),
            human_size(freed_bytes).into(),
            listing::source_cell(&listed.backup),
            listed.backup.backup_name.as_str().into(),
        ];
        let listed = listed.with([("freed", freed_bytes.into())], with);
        self.report.add(&listed, row)
    }

    fn fail(&mut self, candidate: &Chosen, error: Error) {
        self.status = bk_cli::SOME_FAILED;
        if let Some(unreachable) = storage::unreachable(&error) {
            self.removal.home.storages.tell_unreachable(unreachable);
            return;
        }
        let name = candidate.backup.backup_name.escape_debug();
        let remedy = if removal::is_no_archive(&error) {
            "; --keep-file removes only the record"
        } else {
            ""
        };
        PROGRAM.warn(&format!("cannot remove '{name}': {error:#}{remedy}"));
    }

    fn report_refused(&mut self) {
        for error in self.choice.take_refused() {
            self.status = PROGRAM.report(&error);
        }
    }
}
