//! Verdicts as people and programs read them: a line or a row for each backup.
//!
//! Knows no catalog and no archive.

use anyhow::Result;
use bk_cli::listing::Listed;
use bk_cli::report::Report;
use bk_cli::table::{Cell, Column, Tone};
use bk_cli::units::human_size;
use bk_schema::record::Backup;
use bk_store::home::Home;
use serde_json::{Map, Value};

use crate::verdict::Verdict;

pub(crate) const COLUMNS: [Column; 6] = [
    Column::Right("ID"),
    Column::Left("LEVEL"),
    Column::Right("SIZE"),
    Column::Right("SECONDS"),
    Column::Left("RESULT"),
    Column::Left("FILE"),
];

/// Adds one backup, with the line that it came by.
pub(crate) fn add(
    report: &mut Report,
    home: &Home,
    backup: Backup,
    line: Map<String, Value>,
    verdict: &Verdict,
) -> Result<()> {
    // Why it cannot be read, the verdict tells.
    let listed = Listed::look(home, backup, !verdict.is_unreadable());
    let listed = listed.with([("verify", serde_json::to_value(verdict)?)], line);
    report.add(&listed, row(&listed, verdict))
}

fn row(listed: &Listed, verdict: &Verdict) -> Vec<Cell> {
    let mut codes: Vec<_> = verdict.problems.iter().map(|it| it.code).collect();
    codes.dedup();
    let result = match codes.as_slice() {
        [] => "ok".into(),
        codes => Cell::new(codes.join(", "), Tone::Bad),
    };
    vec![
        listed.backup.id.to_string().into(),
        verdict.level.name().into(),
        verdict.bytes.map_or("-".into(), human_size).into(),
        format!("{:.1}", verdict.seconds).into(),
        result,
        listed.file_name.clone().into(),
    ]
}
