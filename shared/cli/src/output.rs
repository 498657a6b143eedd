//! Standard output: JSON lines for programs, an aligned table for people.
//!
//! A closed pipe is no error: a program that only lists asks [`Output::is_closed`] and stops, one
//! that changes something goes on. Knows no record.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use bk_schema::lines;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::tcgetwinsize;
use serde::Serialize;

use crate::columns::{Column, Room};
use crate::flags::{Arguments, JSON, TABLE, WIDE};
use crate::table::{Cell, Table, Tone, paint, render, render_groups};

/// Standard output.
pub struct Output {
    stdout: BufWriter<Stdout>,
    is_table: bool,
    is_wide: bool,
    is_colour: bool,
    is_closed: bool,
}

impl Output {
    /// JSON lines unless stdout is a terminal; `--json`, `--table` and `--wide` force either.
    ///
    /// # Errors
    /// [`UsageError`](crate::UsageError) if both are given.
    pub fn new(arguments: &Arguments) -> Result<Self> {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let is_wide = arguments.has(&WIDE);
        let table = if is_wide { WIDE } else { TABLE };
        let forced = arguments.one_of(&[(JSON, false), (table, true)])?;
        let is_table = forced.unwrap_or(is_terminal);
        Ok(Self {
            stdout: BufWriter::with_capacity(1 << 16, stdout),
            is_table,
            is_wide,
            is_colour: is_terminal && is_colour_wanted(),
            is_closed: false,
        })
    }

    /// Whether it prints a table.
    pub fn is_table(&self) -> bool {
        self.is_table
    }

    /// The room for a table, as it is now: the terminal may have changed its size since the beginning.
    #[must_use]
    pub fn room(&self) -> Room {
        match terminal_width(self.stdout.get_ref()) {
            _ if self.is_wide => Room::Wide,
            Some(width) => Room::Terminal(width),
            None => Room::Enough,
        }
    }

    /// Whether the pipe is closed, so that nothing more need be printed.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Prints one value as a line of JSON.
    pub fn line(&mut self, value: &impl Serialize) -> Result<()> {
        let result = lines::write_line(&mut self.stdout, value);
        self.check(result)
    }

    /// Prints text as it is.
    pub fn text(&mut self, text: &str) -> Result<()> {
        let result = self.stdout.write_all(text.as_bytes());
        self.check(result)
    }

    /// Prints an aligned table with a header.
    pub fn table(&mut self, columns: &[Column], rows: &[Vec<Cell>]) -> Result<()> {
        self.rows(&mut Table::new(columns), rows)
    }

    /// Prints further rows of a table, the header before the first ones.
    pub fn rows(&mut self, table: &mut Table, rows: &[Vec<Cell>]) -> Result<()> {
        self.text(&render(table, rows, self.room(), self.is_colour))
    }

    /// Prints an aligned table whose rows stand beneath the name of their group.
    pub fn groups(
        &mut self,
        columns: &[Column],
        groups: &[(String, Vec<Vec<Cell>>)],
    ) -> Result<()> {
        self.text(&render_groups(columns, groups, self.room(), self.is_colour))
    }

    /// Waits for that long, or until the pipe is closed.
    pub fn wait(&mut self, time: Duration) -> Result<()> {
        let time = Timespec {
            tv_sec: i64::try_from(time.as_secs())?,
            tv_nsec: time.subsec_nanos().into(),
        };
        // With no event requested, poll(2) reports only that the other end is closed.
        let mut watched = [PollFd::new(self.stdout.get_ref(), PollFlags::empty())];
        match poll(&mut watched, Some(&time)) {
            Ok(ended) => self.is_closed |= ended > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot watch standard output"),
        }
        Ok(())
    }

    /// The text in colour, if colour is used.
    pub fn painted(&self, text: &str, tone: Tone) -> String {
        paint(text, tone, self.is_colour)
    }

    /// Writes what is buffered. To be called at the end, and before slow work.
    pub fn flush(&mut self) -> Result<()> {
        let result = self.stdout.flush();
        self.check(result)
    }

    fn check(&mut self, result: io::Result<()>) -> Result<()> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            other => other.context("cannot write to standard output"),
        }
    }
}

/// The columns of the terminal that a stream is; `None` if it is none, or does not tell.
pub(crate) fn terminal_width(stream: impl AsFd) -> Option<usize> {
    let size = tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// Whether colour is allowed: `NO_COLOR` (no-color.org) is not set, or is empty.
pub fn is_colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What [`base64`] made.
///
/// # Errors
/// What is no base64.
pub fn from_base64(text: &str) -> Result<Vec<u8>> {
    Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
}

/// Base64 with padding (RFC 4648, section 4), for paths that are not UTF-8.
pub fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
