//! What lies beside an archive in a location: its record and its manifest; and what all of them are named.
//!
//! Knows no catalog and sends nothing.

use anyhow::Result;
use bk_schema::record::Backup;

/// So many digits of the hash are in the name of an object: enough that two archives of the same name are two
/// objects.
const HASH_DIGITS: usize = 12;

/// The names of the objects of one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) archive: String,
    pub(crate) record: String,
    pub(crate) manifest: String,
}

impl Keys {
    /// `HOST/archives/NAME-HASH12`, and what it is.
    pub(crate) fn new(host: &str, backup: &Backup, archive_hash: &str) -> Self {
        let host = host_key(host);
        let hash = &archive_hash[..archive_hash.len().min(HASH_DIGITS)];
        let stem = format!("{host}/archives/{}-{hash}", backup.backup_name);
        let ending = match backup.compression_type.as_str() {
            "zstd" => "tar.zst",
            _ => "tar.gz",
        };
        Self {
            archive: format!("{stem}.{ending}"),
            record: format!("{stem}.json"),
            manifest: format!("{stem}.parquet"),
        }
    }
}

/// A host as the first part of keys.
pub(crate) fn host_key(host: &str) -> String {
    // It may be named with what separates keys.
    let host = host.replace('/', "_");
    match host.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => host,
    }
}

/// The record as a line: what a machine that has nothing else knows of the archive.
pub(crate) fn record_line(backup: &Backup) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(backup)?;
    line.push(b'\n');
    Ok(line)
}
