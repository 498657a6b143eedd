//! What became of backups, one after the other: lines for programs as they come, a table for people
//! at the end, when its widths are known.
//!
//! Knows no record.

use anyhow::Result;
use serde::Serialize;

use crate::output::Output;
use crate::table::{Cell, Column};

/// Lines or rows of one program.
pub struct Report {
    output: Output,
    columns: &'static [Column],
    rows: Vec<Vec<Cell>>,
}

impl Report {
    /// With the columns of its table.
    #[must_use]
    pub fn new(output: Output, columns: &'static [Column]) -> Self {
        Self {
            output,
            columns,
            rows: Vec::new(),
        }
    }

    /// Whether people read it: then rows are wanted, else lines.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.output.is_table()
    }

    /// Whether nothing that is added will be read.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.output.is_gone()
    }

    /// Prints a line at once.
    ///
    /// # Errors
    /// Those of stdout, but for a reader that went away.
    pub fn line(&mut self, value: &impl Serialize) -> Result<()> {
        self.output.line(value)?;
        self.output.flush()
    }

    /// Keeps a row for the end.
    pub fn row(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// Prints the table, where there are rows.
    ///
    /// # Errors
    /// Those of stdout, but for a reader that went away.
    pub fn end(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        if !rows.is_empty() {
            self.output.table(self.columns, &rows)?;
        }
        self.output.flush()
    }
}
