//! What was moved, as people and programs read it: a line or a row for each backup.
//!
//! Decides nothing; looks at archives by stat alone.

use anyhow::Result;
use bk_cli::listing::{self, Listed};
use bk_cli::report::Report;
use bk_cli::table::Column;
use bk_store::home::Home;
use serde_json::json;

use crate::item::Item;

pub(crate) const COLUMNS: [Column; 5] = [
    Column::right("ID"),
    Column::right("SIZE"),
    Column::left("MOVE"),
    Column::left("FROM"),
    Column::left("TO"),
];

/// Adds one backup that was moved, or would be.
///
/// # Errors
/// Those of the output.
pub(crate) fn add(report: &mut Report, home: &Home, item: Item) -> Result<()> {
    if report.is_table() {
        let row = [
            item.backup.id.to_string(),
            listing::size(&item.backup),
            item.way.name().to_owned(),
            item.from,
            item.to,
        ];
        report.row(row.map(Into::into).to_vec());
        return Ok(());
    }
    let mut listed = Listed::stat(home, item.backup);
    let told = json!({ "from": item.from, "to": item.to, "how": item.way });
    listed.add([("move", told)], item.line);
    report.line(&listed)
}
