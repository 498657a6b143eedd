//! Removes the given backups, or with `--dry-run` tells what it would remove.
//!
//! All of the input is read and checked first; each backup is judged under the lock, as its
//! record is then.

use std::cell::RefCell;

use anyhow::{Error, Result};
use bk_cli::Arguments;
use bk_cli::home;
use bk_cli::listing::{FileStatus, Listed};
use bk_cli::operands::{self, Without};
use bk_cli::output::Output;
use bk_cli::report::Report;
use bk_schema::clock;
use bk_schema::record::Backup;
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::removal::{self, Removal};
use bk_store::signals::Signals;
use bk_store::storage;

use crate::choice::{Choice, Chosen};
use crate::flags::{DRY_RUN, FORCE_PROTECTED, KEEP_FILE, OFFLINE, PROGRAM};
use crate::judge::Allowed;
use crate::report;

/// The whole program.
///
/// # Errors
/// Mistakes on the command line, bad input, a catalog that cannot be read or written.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let home = home::from_arguments(&PROGRAM, arguments, clock::now())?;
    let output = Output::new(arguments)?;
    let lines = operands::given(arguments, Without::Stdin)?.unwrap_or_default();
    if lines.is_empty() {
        if output.is_table() {
            PROGRAM.warn("there is nothing to remove");
        }
        return Ok(bk_cli::DONE);
    }
    let allowed = Allowed {
        protected: arguments.has(&FORCE_PROTECTED),
        offline: arguments.has(&OFFLINE),
    };
    let mut work = Work {
        choice: Choice::new(home.clone(), lines, allowed),
        home,
        keep_file: arguments.has(&KEEP_FILE),
        offline: allowed.offline,
        signals: Signals::watch()?,
        report: Report::new(output, &report::COLUMNS),
        status: bk_cli::DONE,
    };
    let done = if arguments.has(&DRY_RUN) {
        work.preview()
    } else {
        work.remove()
    };
    work.tell_refused();
    // The table, even where something went wrong on the way.
    let ended = work.report.end();
    done.and(ended)?;
    Ok(work.signals.exit_status(work.status))
}

struct Work {
    home: Home,
    keep_file: bool,
    offline: bool,
    signals: Signals,
    choice: Choice,
    report: Report,
    status: u8,
}

impl Work {
    fn remove(&mut self) -> Result<()> {
        let home = self.home.clone();
        let signals = self.signals.clone();
        let removal = Removal {
            home: &home,
            event: "remove",
            keep_file: self.keep_file,
            offline: self.offline,
            signals: &signals,
        };
        let work = RefCell::new(self);
        removal.run(
            |session, at_most| work.borrow_mut().choice.next(session, at_most),
            |candidate, outcome| work.borrow_mut().tell(candidate, outcome),
        )
    }

    fn preview(&mut self) -> Result<()> {
        let choose =
            |session: &bk_store::session::Session<'_>| self.choice.next(session, usize::MAX);
        for candidate in catalog::read(&self.home, choose)? {
            let freed = if self.keep_file {
                Ok(0)
            } else {
                removal::would_free(&self.home, &candidate.backup)
            };
            let freed = match freed {
                Err(error) if self.offline && removal::is_unreachable(&error) => Ok(0),
                freed => freed,
            };
            self.tell(candidate, freed)?;
        }
        Ok(())
    }

    fn tell(&mut self, candidate: Chosen, outcome: Result<u64>) -> Result<()> {
        self.tell_refused();
        match outcome {
            Ok(freed_bytes) => {
                let listed = self.look(candidate.backup);
                report::add(&mut self.report, listed, candidate.with, freed_bytes)
            }
            Err(error) => {
                self.fail(&candidate, error);
                Ok(())
            }
        }
    }

    /// Why what is given up cannot be reached is no news.
    fn look(&self, backup: Backup) -> Listed {
        let reached = self.home.storages.stat(backup.backup_path.as_ref());
        match reached {
            Err(_) if self.offline => Listed::new(backup, FileStatus::Offline),
            _ => Listed::look(&self.home, backup),
        }
    }

    fn fail(&mut self, candidate: &Chosen, error: Error) {
        self.status = bk_cli::SOME_FAILED;
        if let Some(unreachable) = storage::unreachable(&error) {
            self.home.storages.tell_unreachable(unreachable);
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

    fn tell_refused(&mut self) {
        for error in self.choice.take_refused() {
            self.status = PROGRAM.report(&error);
        }
    }
}
