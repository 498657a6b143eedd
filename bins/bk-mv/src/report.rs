//! What was moved, as people and programs read it: a line or a row for each backup.
//!
//! Decides nothing; looks at archives by stat alone.

use anyhow::Result;
use bk_cli::listing::{self, Listed};
use bk_cli::report::Report;
use bk_cli::table::Column;
use bk_store::home::Home;
use serde_json::json;

use crate::transfer::Transfer;

pub(crate) const COLUMNS: [Column; 5] = [
    Column::right("ID"),
    Column::right("SIZE"),
    Column::left("MOVE"),
    Column::left("FROM"),
    Column::left("TO"),
];

/// Adds one backup that was moved, or would be.
pub(crate) fn add(report: &mut Report, home: &Home, transfer: Transfer) -> Result<()> {
    if report.is_table() {
        let row = [
            transfer.backup.id.to_string(),
            listing::size(&transfer.backup),
            transfer.way.name().to_owned(),
            transfer.from,
            transfer.to,
        ];
        report.row(row.map(Into::into).to_vec());
        return Ok(());
    }
    let mut listed = Listed::stat(home, transfer.backup);
    let told = json!({ "from": transfer.from, "to": transfer.to, "how": transfer.way });
    listed.add([("move", told)], transfer.line);
    report.line(&listed)
}
