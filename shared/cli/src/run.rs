//! Runs a program from its command line to its exit status.
//!
//! Knows no record.

use std::io::{self, Write};
use std::process::{Command, ExitCode};

use anyhow::{Context, Error, Result};
use bk_schema::clock;
use bk_store::home::Home;

use crate::flags::{Arguments, COMPLETIONS, HELP, Program, VERSION};
use crate::message::{SUCCESS, UsageError, status_of, warn};
use crate::output::Output;
use crate::{completions, home, zone};

impl Program {
    /// Parses the command line, answers `--help`, `--version` and `--completions`, else calls
    /// `work` with the home, which has the one reading of the clock, and standard output; turns an
    /// error into one line on stderr and an exit status.
    pub fn run(
        &'static self,
        work: impl FnOnce(&Arguments, Home, Output) -> Result<u8>,
    ) -> ExitCode {
        let result = self
            .parse(std::env::args_os().skip(1))
            .and_then(|arguments| {
                if arguments.has(&HELP) {
                    return print(&self.help());
                }
                if arguments.has(&VERSION) {
                    return print(&format!(
                        "{} (bk) {}\n",
                        self.name,
                        env!("CARGO_PKG_VERSION")
                    ));
                }
                if let Some(shell) = arguments.text(&COMPLETIONS)? {
                    return print(&completions::script(self, shell)?);
                }
                zone::check().map_err(|error| UsageError(format!("{error:#}")))?;
                let home = home::from_arguments(self, &arguments, clock::now())?;
                work(&arguments, home, Output::new(&arguments)?)
            });
        ExitCode::from(result.unwrap_or_else(|error| self.report(&error)))
    }

    /// Prints an error on one line of stderr and returns its exit status.
    pub fn report(&self, error: &Error) -> u8 {
        self.warn(&format!("{error:#}"));
        status_of(error)
    }

    /// What there is of all, as it is asked for. Reports each error instead, and keeps the exit
    /// status that it means.
    pub fn report_errors<T, E: Into<Error>>(
        &self,
        all: impl IntoIterator<Item = Result<T, E>>,
        status: &mut u8,
    ) -> impl Iterator<Item = T> {
        all.into_iter().filter_map(move |one| match one {
            Ok(one) => Some(one),
            Err(error) => {
                *status = self.report(&error.into());
                None
            }
        })
    }

    /// Prints one line on stderr, after the name of the program.
    pub fn warn(&self, text: &str) {
        warn(self.name, text);
    }
}

/// Another program of bk: the one beside this one, else the one in PATH.
#[must_use]
pub fn sibling(name: &str) -> Command {
    let this = std::env::current_exe().ok();
    let beside = this.and_then(|this| Some(this.parent()?.join(name)));
    Command::new(beside.filter(|it| it.is_file()).unwrap_or(name.into()))
}

/// A closed pipe is no error.
fn print(text: &str) -> Result<u8> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(SUCCESS),
    }
}
