//! Runs a program: what was typed, its work, its exit status.
//!
//! Knows no record.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::flags::{Arguments, COMPLETIONS, HELP, Program, VERSION};
use crate::message::{DONE, UsageError, status_of, warn};
use crate::{completions, zone};

impl Program {
    /// Runs a program: parses, answers `--help` and `--version` without a catalog, and turns an
    /// error into one line and an exit status.
    pub fn run(&self, work: impl FnOnce(&Arguments) -> Result<u8>) -> ExitCode {
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
                work(&arguments)
            });
        ExitCode::from(result.unwrap_or_else(|error| self.report(&error)))
    }

    /// Tells one error, on one line, and returns the exit status that it means.
    pub fn report(&self, error: &anyhow::Error) -> u8 {
        self.warn(&format!("{error:#}"));
        status_of(error)
    }

    /// Tells people something on stderr, on one line.
    pub fn warn(&self, text: &str) {
        warn(self.name, text);
    }
}

/// A reader that goes away is no error.
fn print(text: &str) -> Result<u8> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(DONE),
    }
}
