//! What was moved, as people and programs read it: a line or a row for each backup.
//!
//! Decides nothing; looks at archives by stat alone.

use anyhow::Result;
use bk_cli::listing::Listed;
use bk_cli::output::Output;
use bk_cli::table::Column;
use bk_cli::units::human_size;
use bk_store::home::Home;
use serde_json::json;

use crate::item::Item;

const COLUMNS: [(&str, bool); 5] = [
    ("ID", true),
    ("SIZE", true),
    ("MOVE", false),
    ("FROM", false),
    ("TO", false),
];

/// Prints lines at once and the table at the end, when its widths are known.
pub(crate) struct Report {
    output: Output,
    rows: Vec<Vec<bk_cli::table::Cell>>,
}

impl Report {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            output,
            rows: Vec::new(),
        }
    }

    /// # Errors
    /// Those of the output.
    pub(crate) fn add(&mut self, home: &Home, item: Item) -> Result<()> {
        if self.output.is_table() {
            let size = item
                .backup
                .backup_size
                .and_then(|it| u64::try_from(it).ok());
            let row = [
                item.backup.id.to_string(),
                size.map_or("-".to_owned(), human_size),
                item.way.name().to_owned(),
                item.from,
                item.to,
            ];
            self.rows.push(row.map(Into::into).to_vec());
            return Ok(());
        }
        let mut listed = Listed::look(home, item.backup);
        let told = json!({ "from": item.from, "to": item.to, "how": item.way });
        listed.passed.insert("move".into(), told);
        let mut line = item.line;
        line.shift_remove("move");
        let mut passed = std::mem::take(&mut listed.passed);
        listed.pass(line);
        passed.append(&mut listed.passed);
        listed.passed = passed;
        self.output.line(&listed)
    }

    /// # Errors
    /// Those of the output.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.output.flush()
    }

    /// # Errors
    /// Those of the output.
    pub(crate) fn end(mut self) -> Result<()> {
        let column = |(title, is_right)| Column { title, is_right };
        if !self.rows.is_empty() {
            self.output.table(&COLUMNS.map(column), &self.rows)?;
        }
        self.output.flush()
    }
}
