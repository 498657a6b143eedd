//! What a backup lacks of its sources, as its metadata tells it.
//!
//! bk-create writes it. Knows no archive.

use serde_json::Value;

use crate::record::Backup;

/// The kinds of problems with which something that was there is not, or not right, in the
/// archive.
const LOSSES: [&str; 3] = ["unreadable", "shrank", "replaced"];

/// How many places of its sources a backup has not, or not right. Where more problems are counted
/// than listed, and all of those are losses, so are the others.
#[must_use]
pub fn count(backup: &Backup) -> u64 {
    let metadata = &backup.backup_metadata;
    let listed = metadata.get("problems").and_then(Value::as_array);
    let Some(listed) = listed else { return 0 };
    let is_loss = |it: &&Value| {
        let kind = it.get("kind").and_then(Value::as_str);
        kind.is_some_and(|kind| LOSSES.contains(&kind))
    };
    let losses = listed.iter().filter(is_loss).count();
    let all = metadata.get("problem_count").and_then(Value::as_u64);
    if losses == listed.len() {
        all.unwrap_or_default().max(losses as u64)
    } else {
        losses as u64
    }
}
