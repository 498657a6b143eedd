//! A find as a JSON line, and as a row.
//!
//! Knows no manifest.

use bk_cli::output::base64;
use bk_schema::manifest::Entry;
use bk_schema::record::Backup;
use jiff::Timestamp;
use serde::Serialize;

use crate::versions::Version;

/// One find; bk-record(5) describes the keys.
#[derive(Serialize)]
pub(crate) struct Find<'a> {
    id: i64,
    backup_name: &'a str,
    created_at: Timestamp,
    path: String,
    /// Only if the path is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    r#type: &'static str,
    size: u64,
    /// Null if it is out of the range of a timestamp.
    mtime: Option<Timestamp>,
    mode: String,
    uid: u32,
    gid: u32,
    #[serde(flatten)]
    versions: Option<Versions<'a>>,
}

/// The backups that have this version of it; the newest is that of the line.
#[derive(Serialize)]
struct Versions<'a> {
    first_id: i64,
    first_backup_name: &'a str,
    first_created_at: Timestamp,
    backup_count: u64,
}

impl<'a> Find<'a> {
    pub(crate) fn new(backup: &'a Backup, entry: &Entry) -> Self {
        let is_text = str::from_utf8(&entry.path).is_ok();
        Self {
            id: backup.id,
            backup_name: &backup.backup_name,
            created_at: backup.created_at,
            path: String::from_utf8_lossy(&entry.path).into_owned(),
            path_base64: (!is_text).then(|| base64(&entry.path)),
            r#type: entry.entry_type.name(),
            size: entry.size,
            mtime: entry.mtime.timestamp(),
            mode: format!("{:04o}", entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            versions: None,
        }
    }

    pub(crate) fn of_version(version: &'a Version<'_>) -> Self {
        let first = version.first;
        Self {
            versions: Some(Versions {
                first_id: first.id,
                first_backup_name: &first.backup_name,
                first_created_at: first.created_at,
                backup_count: version.count,
            }),
            ..Self::new(version.last, &version.entry)
        }
    }
}
