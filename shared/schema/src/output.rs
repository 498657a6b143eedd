//! What a program prints: JSON lines for programs, an aligned table for people.
//!
//! A reader that goes away is no error here: a program that only lists asks [`Output::is_gone`]
//! and stops, one that changes things goes on. Knows no record.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::cli::{Arguments, UsageError};
use crate::lines;
pub use crate::visible::visible;

/// Standard output.
pub struct Output {
    stdout: BufWriter<Stdout>,
    is_table: bool,
    is_colour: bool,
    is_gone: bool,
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its head.
    pub title: &'static str,
    /// Numbers stand to the right.
    pub is_right: bool,
}

/// A table that is printed in parts: later ones keep the columns of the earlier ones, or widen
/// them.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    /// Empty before the head is printed.
    widths: Vec<usize>,
}

impl Table {
    /// A table of columns with these titles; numbers stand to the right.
    #[must_use]
    pub fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            widths: Vec::new(),
        }
    }
}

/// A field of a table.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// Control characters are shown escaped.
    pub text: String,
    /// How it is to catch the eye.
    pub tone: Tone,
}

/// How a field catches the eye, where there is colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// Not at all.
    #[default]
    Plain,
    /// Bold: a head.
    Head,
    /// Green: right.
    Good,
    /// Yellow: in between.
    Warn,
    /// Red: wrong.
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Head => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self {
            text,
            tone: Tone::Plain,
        }
    }
}

impl Output {
    /// Lines unless stdout is a terminal; `--json` and `--table` force either.
    ///
    /// # Errors
    /// [`UsageError`], where both are given.
    pub fn new(arguments: &Arguments) -> Result<Self> {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let is_table = match (arguments.has("json"), arguments.has("table")) {
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

fn paint(text: &str, tone: Tone, is_colour: bool) -> String {
    if is_colour && tone != Tone::Plain {
        format!("{}{text}\x1b[0m", tone.code())
    } else {
        text.to_owned()
    }
}

fn render(table: &mut Table, rows: &[Vec<Cell>], is_colour: bool) -> String {
    let mut all = Vec::new();
    if table.widths.is_empty() {
        let head = table.columns.iter().map(|column| Cell {
            text: column.title.to_owned(),
            tone: Tone::Head,
        });
        all.push(head.collect::<Vec<_>>());
        table.widths = vec![0; table.columns.len()];
    }
    all.extend(rows.iter().map(|row| {
        let shown = |cell: &Cell| Cell {
            text: visible(&cell.text),
            tone: cell.tone,
        };
        row.iter().map(shown).collect()
    }));
    for row in &all {
        for (cell, width) in row.iter().zip(&mut table.widths) {
            *width = cell.text.width().max(*width);
        }
    }
    let mut text = String::new();
    for row in &all {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(&table.columns).zip(&table.widths) {
            let space = " ".repeat(width - cell.text.width());
            let painted = paint(&cell.text, cell.tone, is_colour);
            if column.is_right {
                line.push_str(&format!("{space}{painted}  "));
            } else {
                line.push_str(&format!("{painted}{space}  "));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_shown_in_them() {
        let columns = [
            Column {
                title: "N",
                is_right: true,
            },
            Column {
                title: "NAME",
                is_right: false,
            },
            Column {
                title: "X",
                is_right: false,
            },
        ];
        let row = |texts: [&str; 3]| texts.map(|text| text.to_owned().into()).to_vec();
        let rows = [row(["1", "日本", "x"]), row(["100", "a\x1b[31m\n", ""])];
        let mut table = Table::new(&columns);
        assert_eq!(
            render(&mut table, &rows, false),
            concat!(
                "  N  NAME           X\n",
                "  1  日本           x\n",
                "100  a\\u{1b}[31m\\n\n"
            )
        );
        assert_eq!(
            render(&mut table, &[row(["1", "b", "y"])], false),
            "  1  b              y\n"
        );
    }
}
