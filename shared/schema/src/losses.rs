//! How many source paths a backup lacks, from its metadata.
//!
//! bk-create writes it. Knows no archive.

use serde_json::Value;

use crate::metadata::PROBLEMS;
use crate::record::Backup;

/// The kinds of problems that leave something out of the archive, or make it wrong there.
const LOSSES: [&str; 3] = ["unreadable", "shrank", "replaced"];

/// The number of source paths that are missing or wrong in the archive.
///
/// Older records have no `loss_count`. Their list of problems is cut and has the losses first: if
/// it holds nothing but losses, the problems cut off count as losses too.
pub fn count(backup: &Backup) -> u64 {
    let metadata = &backup.backup_metadata;
    if let Some(count) = metadata.get("loss_count").and_then(Value::as_u64) {
        return count;
    }
    let listed = metadata.get(PROBLEMS).and_then(Value::as_array);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_counted_is_told_and_of_older_records_what_is_listed() {
        let of = |metadata: Value| {
            let backup = serde_json::from_value(json!({
                "id": 1, "backup_name": "a", "backup_type": "manual", "status": "completed",
                "source_version": null, "backup_path": "/a", "backup_size": 1, "file_count": 1,
                "compression_type": "gzip", "backup_hash": null, "description": null,
                "backup_metadata": metadata, "protected": false,
                "created_at": "2026-11-01T00:00:00Z", "expires_at": null
            }));
            count(&backup.unwrap())
        };
        let lost = json!({"kind": "shrank"});
        let grew = json!({"kind": "grew"});
        // Of three hundred problems the list holds the losses first, and nothing else.
        let listed = json!({"problem_count": 300, "problems": [lost]});
        assert_eq!(of(listed.clone()), 300);
        let mut counted = listed;
        counted["loss_count"] = 120.into();
        assert_eq!(of(counted), 120);
        assert_eq!(of(json!({"problem_count": 2, "problems": [lost, grew]})), 1);
        assert_eq!(of(json!({})), 0);
    }
}
