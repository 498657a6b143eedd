//! What was removed, as people and programs read it: a line or a row for each backup.
//!
//! Knows no catalog.

use anyhow::Result;
use bk_cli::listing::Listed;
use bk_cli::output::Output;
use bk_cli::table::{Cell, Column};
use bk_cli::units::human_size;
use serde_json::{Map, Value};

const COLUMNS: [(&str, bool); 4] = [
    ("ID", true),
    ("TYPE", false),
    ("FREED", true),
    ("FILE", false),
];

/// Prints lines as they come, and the table at the end, when its widths are known.
pub(crate) struct Report {
    output: Output,
    rows: Vec<Vec<Cell>>,
}

impl Report {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            output,
            rows: Vec::new(),
        }
    }

    /// Adds one backup as it was, with the line that it came by and the bytes that are free now.
    ///
    /// # Errors
    /// Those of the output.
    pub(crate) fn add(
        &mut self,
        mut listed: Listed,
        line: Map<String, Value>,
        freed_bytes: u64,
    ) -> Result<()> {
        if self.output.is_gone() {
            return Ok(());
        }
        if self.output.is_table() {
            self.rows.push(row(&listed, freed_bytes));
            return Ok(());
        }
        listed.add("freed", freed_bytes.into(), line);
        self.output.line(&listed)
    }

    /// # Errors
    /// Those of the output.
    pub(crate) fn end(&mut self) -> Result<()> {
        let column = |(title, is_right)| Column { title, is_right };
        if !self.rows.is_empty() {
            self.output.table(&COLUMNS.map(column), &self.rows)?;
        }
        self.output.flush()
    }
}

fn row(listed: &Listed, freed_bytes: u64) -> Vec<Cell> {
    vec![
        listed.backup.id.to_string().into(),
        listed.backup.backup_type.name().to_owned().into(),
        human_size(freed_bytes).into(),
        listed.file_name.clone().into(),
    ]
}
