//! A dry run: what would be copied.
//!
//! Sends and records nothing.

use anyhow::Result;
use bk_cli::listing::{self, Listed};
use serde_json::json;

use crate::copying::Copies;

/// What would be copied.
pub(crate) fn preview(mut copies: Copies) -> Result<u8> {
    let location = copies.location.clone();
    for due in std::mem::take(&mut copies.queue) {
        let backup = due.backup;
        match copies.storing(&backup) {
            Ok(Some(_)) => {}
            Ok(None) => continue,
            Err(error) => {
                copies.fail(&backup, &error);
                continue;
            }
        }
        let row = vec![
            backup.id.to_string().into(),
            listing::size(&backup).into(),
            "-".into(),
            location.clone().into(),
            listing::source_cell(&backup),
            "-".into(),
        ];
        let told = json!({ "location": location, "bytes": backup.backup_size, "dry_run": true });
        let listed = Listed::stat(&copies.home, backup).with([("copy", told)], due.line);
        copies.report.add(&listed, row)?;
    }
    copies.report.end()?;
    Ok(copies.status)
}
