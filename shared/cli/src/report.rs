//! The results for backup after backup: JSON lines as they come, or one table at the end, when its
//! widths are known.
//!
//! Knows no record.

use anyhow::Result;
use serde::Serialize;

use crate::columns::Column;
use crate::output::Output;
use crate::table::Cell;

/// The lines or rows of one program.
pub struct Report {
    output: Output,
    columns: &'static [Column],
    rows: Vec<Vec<Cell>>,
}

impl Report {
    /// A report with these columns, if it is to be a table.
    pub fn new(output: Output, columns: &'static [Column]) -> Self {
        Self {
            output,
            columns,
            rows: Vec::new(),
        }
    }

    /// Whether there is a table.
    pub fn is_table(&self) -> bool {
        self.output.is_table()
    }

    /// Prints the line at once, or adds the row to the table.
    pub fn add(&mut self, line: &impl Serialize, row: Vec<Cell>) -> Result<()> {
        if self.is_table() {
            self.rows.push(row);
            return Ok(());
        }
        self.output.line(line)?;
        self.output.flush()
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
