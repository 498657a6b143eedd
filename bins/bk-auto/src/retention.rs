//! The retention of a job: has bk-prune remove the job's older backups, and no others.
//!
//! Decides nothing: bk-prune does.

use std::process::Command;

use anyhow::{Result, ensure};
use bk_schema::record::{Backup, BackupType};
use bk_store::{Home, catalog};
use serde_json::Value;

use crate::child::{self, Watch};

/// What was removed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Pruned {
    pub(crate) count: u64,
    pub(crate) freed_bytes: u64,
}

/// Removes the job's backups that are older than `days`. What was removed before an error is
/// counted.
///
/// # Errors
/// The error of bk-prune.
pub(crate) fn apply(
    home: &Home,
    job: &str,
    days: u32,
    mut prune: Command,
    watch: &Watch,
    pruned: &mut Pruned,
) -> Result<()> {
    let (backups, here) = catalog::read(home, |session| Ok((session.backups()?, session.host()?)))?;
    let own = backups.into_iter().flatten();
    let own = own.filter(|it| is_own(it, job) && here.has(it));
    let lines: String = own.map(|it| format!("{{\"id\":{}}}\n", it.id)).collect();
    // One group: where the sources of a job change, its older backups are still its own.
    // bk-auto has checked the clock itself, by its rounds.
    prune.args([
        "--json",
        "--force-clock",
        "--group-by",
        "none",
        "--older-than",
    ]);
    prune.args([&format!("{days}d"), "-"]);
    let ended = child::run(prune, &lines, watch, |line| !is_summary(line))?;
    for line in ended.stdout.lines() {
        let removed: Value = serde_json::from_str(line).unwrap_or_default();
        pruned.count += 1;
        pruned.freed_bytes += removed["freed"].as_u64().unwrap_or_default();
    }
    let how = child::ending(ended.status);
    ensure!(
        ended.status.success(),
        "cannot prune: bk-prune {how}: {}",
        ended.last_line
    );
    Ok(())
}

fn is_own(backup: &Backup, job: &str) -> bool {
    backup.backup_type == BackupType::Automatic
        && backup.backup_metadata.get("job").and_then(Value::as_str) == Some(job)
}

/// bk-prune reports each removal; cron would mail that every night.
fn is_summary(line: &str) -> bool {
    line.starts_with("bk-prune: removed ")
}
