//! What a program prints: JSON lines for programs, an aligned table for people.
//!
//! A reader that goes away is no error here: a program that only lists asks [`Output::is_gone`]
//! and stops, one that changes things goes on. Knows no record.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use bk_schema::lines;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use crate::flags::{Arguments, JSON, TABLE};
use crate::message::UsageError;
use crate::table::{Cell, Column, Table, Tone, paint, render};

/// Standard output.
pub struct Output {
    stdout: BufWriter<Stdout>,
    is_table: bool,
    is_colour: bool,
    is_gone: bool,
}

impl Output {
    /// Lines unless stdout is a terminal; `--json` and `--table` force either.
    ///
    /// # Errors
    /// [`UsageError`], where both are given.
    pub fn new(arguments: &Arguments) -> Result<Self> {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let is_table = match (arguments.has(&JSON), arguments.has(&TABLE)) {
            (true, true) => {
                return Err(UsageError("--json and --table exclude each other".into()).into());
            }
            (json, table) => table || (is_terminal && !json),
        };
        Ok(Self {
            stdout: BufWriter::with_capacity(1 << 16, stdout),
            is_table,
            is_colour: is_terminal && is_colour_wanted(),
            is_gone: false,
        })
    }

    /// Whether people read it.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.is_table
    }

    /// Whether the reader went away, so that nothing more need be printed.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Prints one value as a line of JSON.
    ///
    /// # Errors
    /// Those of stdout, but for a reader that went away.
    pub fn line(&mut self, value: &impl Serialize) -> Result<()> {
        let result = lines::write(&mut self.stdout, value);
        self.check(result)
    }

    /// Prints text as it is.
    ///
    /// # Errors
    /// Those of stdout, but for a reader that went away.
    pub fn text(&mut self, text: &str) -> Result<()> {
        let result = self.stdout.write_all(text.as_bytes());
        self.check(result)
    }

    /// Prints an aligned table under a head.
    ///
    /// # Errors
    /// Those of stdout, but for a reader that went away.
    pub fn table(&mut self, columns: &[Column], rows: &[Vec<Cell>]) -> Result<()> {
        self.part(&mut Table::new(columns), rows)
    }

    /// Prints the next rows of a table, before the first ones its head.
    ///
    /// # Errors
    /// Those of stdout, but for a reader that went away.
    pub fn part(&mut self, table: &mut Table, rows: &[Vec<Cell>]) -> Result<()> {
        self.text(&render(table, rows, self.is_colour))
    }

    /// Waits for so long, or until the reader goes away.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait(&mut self, time: Duration) -> Result<()> {
        let time = Timespec {
            tv_sec: i64::try_from(time.as_secs())?,
            tv_nsec: time.subsec_nanos().into(),
        };
        // Without any event asked for, only the end of the other side is told.
        let mut watched = [PollFd::new(self.stdout.get_ref(), PollFlags::empty())];
        match poll(&mut watched, Some(&time)) {
            Ok(ended) => self.is_gone |= ended > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot watch standard output"),
        }
        Ok(())
    }

    /// Text that catches the eye, where there is colour.
    #[must_use]
    pub fn toned(&self, text: &str, tone: Tone) -> String {
        paint(text, tone, self.is_colour)
    }

    /// Sends on what is buffered. To be called at the end, and before slow work.
    ///
    /// # Errors
    /// Those of stdout, but for a reader that went away.
    pub fn flush(&mut self) -> Result<()> {
        let result = self.stdout.flush();
        self.check(result)
    }

    fn check(&mut self, result: io::Result<()>) -> Result<()> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_gone = true;
                Ok(())
            }
            other => other.context("cannot write to standard output"),
        }
    }
}

/// Whether there may be colour on a terminal: `NO_COLOR` is not set, or is empty.
#[must_use]
pub fn is_colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Bytes that are no UTF-8, such as a path, as JSON can hold them (RFC 4648, section 4).
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
