//! What was removed, as people and programs read it: a line or a row for each backup.
//!
//! Knows no catalog.

use anyhow::Result;
use bk_cli::listing::Listed;
use bk_cli::report::Report;
use bk_cli::table::{Cell, Column};
use bk_cli::units::human_size;
use serde_json::{Map, Value};

pub(crate) const COLUMNS: [Column; 4] = [
    Column::Right("ID"),
    Column::Left("TYPE"),
    Column::Right("FREED"),
    Column::Left("FILE"),
];

/// Adds one backup as it was, with the line that it came by and the bytes that are free now.
pub(crate) fn add(
    report: &mut Report,
    listed: Listed,
    line: Map<String, Value>,
    freed_bytes: u64,
) -> Result<()> {
    let listed = listed.with([("freed", freed_bytes.into())], line);
    report.add(&listed, row(&listed, freed_bytes))
}

fn row(listed: &Listed, freed_bytes: u64) -> Vec<Cell> {
    vec![
        listed.backup.id.to_string().into(),
        listed.backup.backup_type.name().into(),
        human_size(freed_bytes).into(),
        listed.file_name.clone().into(),
    ]
}
