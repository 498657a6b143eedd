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
    Column::Right("ID"),
    Column::Right("SIZE"),
    Column::Left("MOVE"),
    Column::Left("FROM"),
    Column::Left("TO"),
];

/// Adds one backup that was moved, or would be.
pub(crate) fn add(report: &mut Report, home: &Home, transfer: Transfer) -> Result<()> {
    let told = json!({ "from": transfer.from, "to": transfer.to, "how": transfer.way });
    let row = vec![
        transfer.backup.id.to_string().into(),
        listing::size(&transfer.backup).into(),
        transfer.way.name().into(),
        transfer.from.into(),
        transfer.to.into(),
    ];
    let listed = Listed::stat(home, transfer.backup).with([("move", told)], transfer.line);
    report.add(&listed, row)
}
