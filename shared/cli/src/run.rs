//! Runs a program from its command line to its exit status, on the home that its flags and the
//! environment name.
//!
//! Opens no catalog.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Error, Result};
use bk_schema::{clock, host};
use bk_store::home::Home;
use jiff::Timestamp;

use crate::flags::{Arguments, COMPLETIONS, Flag, HELP, HOME, LOCK_TIMEOUT, Program, VERSION};
use crate::message::{SUCCESS, UsageError, status_of, usage, warn};
use crate::output::Output;
use crate::{completions, units, zone};

/// A flag that is wider than this has its description on the next line.
const HELP_WIDTH: usize = 30;

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
                let home = home(self, &arguments, clock::now())
                    .map_err(|error| UsageError(format!("{error:#}")))?;
                work(&arguments, home, Output::new(&arguments)?)
            });
        ExitCode::from(result.unwrap_or_else(|error| self.report(&error)))
    }

    /// The text of `--help`.
    pub fn help(&self) -> String {
        let left = |flag: &Flag| {
            let short = flag
                .short
                .map_or("    ".to_owned(), |letter| format!("-{letter}, "));
            let value = flag
                .value
                .map_or(String::new(), |value| format!(" {value}"));
            format!("  {short}--{}{value}", flag.long)
        };
        let widths = self.all_flags().map(|flag| left(flag).len());
        let width = widths.filter(|width| *width <= HELP_WIDTH).max();
        let width = width.unwrap_or(0);
        let mut text = format!(
            "{} - {}\n\nusage: {} {}\n\n",
            self.name, self.summary, self.name, self.usage
        );
        for flag in self.all_flags() {
            let left = left(flag);
            let gap = if left.len() > width { "\n" } else { "  " };
            let indent = if left.len() > width { width + 2 } else { 0 };
            text.push_str(&format!("{left:width$}{gap}{:indent$}{}\n", "", flag.help));
        }
        text.push_str(&format!("\nSee {}(1) for details.\n", self.name));
        text
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
pub fn program(name: &str) -> Command {
    let beside = std::env::current_exe().ok();
    let beside = beside.and_then(|this| Some(this.parent()?.join(name)));
    Command::new(
        beside
            .filter(|it| it.is_file())
            .unwrap_or_else(|| name.into()),
    )
}

/// The home: `--home`, else `$BK_HOME`, else the default for this user; with the lock timeout and
/// `$BK_HOST`.
///
/// # Errors
/// An invalid `--lock-timeout` or `BK_HOST`, and a user without a home directory.
fn home(program: &'static Program, arguments: &Arguments, now: Timestamp) -> Result<Home> {
    let env = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let given = arguments.value(&HOME).cloned().or_else(|| env("BK_HOME"));
    let dir = match given {
        Some(dir) => PathBuf::from(dir),
        None if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/bk"),
        None => match env("XDG_DATA_HOME") {
            Some(data) => Path::new(&data).join("bk"),
            None => {
                let user = env("HOME")
                    .context("cannot find the catalog: use --home, or set BK_HOME or HOME")?;
                Path::new(&user).join(".local/share/bk")
            }
        },
    };
    let dir = std::path::absolute(&dir)
        .with_context(|| format!("cannot find the home '{}'", dir.display()))?;
    let mut home = Home::new(dir, program.name, now, warn);
    if let Some(timeout) = arguments.parsed(&LOCK_TIMEOUT, units::parse_duration)? {
        home.lock_timeout = timeout;
    }
    if let Some(name) = env(host::VARIABLE) {
        let name = host::parse(&name.to_string_lossy());
        home.host = Some(name.map_err(|e| usage(&e, host::VARIABLE))?);
    }
    Ok(home)
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
