//! The results for backup after backup: JSON lines as they come, or one table at the end, when its
//! widths are known.
//!
//! Knows no record.

use anyhow::Result;
use serde::Serialize;

use crate::output::Output;
use crate::table::{Cell, Column};

/// The lines or rows of one program.
pub struct Report {
    output: Output,
    columns: &'static [Column],
    rows: Vec<Vec<Cell>>,
}

impl Report {
    /// A report with these columns, if it is to be a table.
    #[must_use]
    pub fn new(output: Output, columns: &'static [Column]) -> Self {
        Self {
            output,
            columns,
            rows: Vec::new(),
        }
    }

    /// Whether [`Report::row`] is to be called, rather than [`Report::line`].
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.output.is_table()
    }

    /// Whether the pipe is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.output.is_closed()
    }

    /// Prints a line at once.
    pub fn line(&mut self, value: &impl Serialize) -> Result<()> {
        self.output.line(value)?;
        self.output.flush()
    }

    /// Adds a row to the table.
    pub fn row(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// Prints the table if it has rows.
    pub fn end(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        if !rows.is_empty() {
            self.output.table(self.columns, &rows)?;
        }
        self.output.flush()
    }
}
