//! The names of the objects of a backup in a location, and its record as one of them: what a machine that has
//! nothing else knows of an archive.
//!
//! Knows no catalog and sends nothing.

use anyhow::{Context, Result, ensure};
use bk_schema::copy::{BackupCopy, CopyStatus};
use bk_schema::metadata::PROBLEMS;
use bk_schema::record::Backup;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// So many digits of the hash are in the name of an object: enough that two archives of the same name are two
/// objects.
const HASH_DIGITS: usize = 12;
/// The directory of a host that has its objects.
const ARCHIVES: &str = "archives";
/// What an object is named that is encrypted.
pub const ENCRYPTED: &str = ".age";
const RECORD: &str = ".json";

/// The names of the objects of one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Of the archive.
    pub archive: String,
    /// Of its record, which is never encrypted.
    pub record: String,
    /// Of its manifest.
    pub manifest: String,
}

impl Keys {
    /// `HOST/archives/NAME-HASH12`, and what it is; `archive_hash` is that of the archive as it is here.
    #[must_use]
    pub fn new(host: &str, backup: &Backup, archive_hash: &str, is_encrypted: bool) -> Self {
        let hash = &archive_hash[..archive_hash.len().min(HASH_DIGITS)];
        let stem = format!("{}/{}-{hash}", archives_of(host), backup.backup_name);
        let ending = ending(backup);
        let encrypted = if is_encrypted { ENCRYPTED } else { "" };
        Self {
            archive: format!("{stem}{ending}{encrypted}"),
            record: format!("{stem}{RECORD}"),
            manifest: format!("{stem}.parquet{encrypted}"),
        }
    }

    /// Those that belong to the object of an archive.
    #[must_use]
    pub fn of_archive(key: &str) -> Self {
        let (plain, encrypted) = match key.strip_suffix(ENCRYPTED) {
            Some(plain) => (plain, ENCRYPTED),
            None => (key, ""),
        };
        let endings = [".tar.gz", ".tar.zst"].iter();
        let stem = endings.filter_map(|it| plain.strip_suffix(it)).next();
        let stem = stem.unwrap_or(plain);
        Self {
            archive: key.to_owned(),
            record: format!("{stem}{RECORD}"),
            manifest: format!("{stem}.parquet{encrypted}"),
        }
    }
}

/// What the name of an archive ends with.
#[must_use]
pub fn ending(backup: &Backup) -> &'static str {
    match backup.compression_type.as_str() {
        "zstd" => ".tar.zst",
        _ => ".tar.gz",
    }
}

/// Whether a key is that of a record.
#[must_use]
pub fn is_record(key: &str) -> bool {
    key.ends_with(RECORD)
}

/// The key below which the objects of a host are.
#[must_use]
pub fn archives_of(host: &str) -> String {
    format!("{}/{ARCHIVES}", host_key(host))
}

/// A host as the first part of keys.
#[must_use]
pub fn host_key(host: &str) -> String {
    // It may be named with what separates keys.
    let host = host.replace('/', "_");
    match host.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => host,
    }
}

/// A record as a location holds it, with what is known of the archive beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The record as it was when it was copied.
    #[serde(flatten)]
    pub backup: Backup,
    /// The host that it was made on.
    pub host: String,
    /// The id of the catalog that it was copied from: a host may have several.
    pub catalog: String,
    /// The object.
    pub copy: HeldCopy,
}

/// What a sidecar tells beside the record.
#[derive(Deserialize)]
struct Beside {
    host: String,
    catalog: String,
    copy: HeldCopy,
}

/// What a sidecar tells of the object of its archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldCopy {
    /// Its name.
    pub key: String,
    /// In a bucket with versions.
    pub version_id: Option<String>,
    /// In bytes.
    pub size: u64,
    /// SHA-256 of the object in lower-case hex: that of the archive, unless it is encrypted.
    pub hash: String,
    /// What the store tells as the SHA-256 of one that came in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts_hash: Option<String>,
    /// The public keys that it is encrypted to; empty if it is not.
    pub recipients: Vec<String>,
    /// What the store calls its class.
    pub storage_class: Option<String>,
    /// Until when the store refuses its removal.
    pub locked_until: Option<Timestamp>,
}

impl Held {
    /// Of an archive that is encrypted, without what names files in it: the record is not.
    ///
    /// # Errors
    /// A copy whose size or hash is not known.
    pub fn new(backup: &Backup, host: &str, catalog: &str, copy: &BackupCopy) -> Result<Self> {
        let mut backup = backup.clone();
        if !copy.recipients.is_empty() {
            backup.backup_metadata.shift_remove(PROBLEMS);
        }
        Ok(Self {
            backup,
            host: host.to_owned(),
            catalog: catalog.to_owned(),
            copy: HeldCopy {
                key: copy.object_key.clone(),
                version_id: copy.version_id.clone(),
                size: copy.size.context("the size of the copy is not known")?,
                hash: copy
                    .hash
                    .clone()
                    .context("the hash of the copy is not known")?,
                parts_hash: copy.parts_hash.clone(),
                recipients: copy.recipients.clone(),
                storage_class: copy.storage_class.clone(),
                locked_until: copy.locked_until,
            },
        })
    }

    /// The text of a sidecar.
    ///
    /// # Errors
    /// What is none, or breaks the rules of a record.
    pub fn parse(text: &[u8]) -> Result<Self> {
        // Read as one, with the keys of another type among its own, it takes twice as long.
        let backup: Backup = serde_json::from_slice(text)?;
        let beside: Beside = serde_json::from_slice(text)?;
        let held = Self {
            backup,
            host: beside.host,
            catalog: beside.catalog,
            copy: beside.copy,
        };
        held.backup.check()?;
        held.known_at("x", held.backup.id, Timestamp::UNIX_EPOCH)
            .check()?;
        ensure!(
            held.backup.backup_hash.is_some(),
            "the record has no hash: it is of no complete backup"
        );
        let below = format!("{}/", archives_of(&held.host));
        let name = held.copy.key.strip_prefix(&below);
        ensure!(
            name.is_some_and(|name| !name.contains('/')),
            "its archive is none of its host"
        );
        // It is part of keys.
        let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        ensure!(
            !held.catalog.is_empty() && is_word(&held.catalog),
            "the id of its catalog is no word"
        );
        Ok(held)
    }

    /// The text of a sidecar, which is one line, without its end.
    ///
    /// # Errors
    /// Never, in fact.
    pub fn text(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// What a catalog knows of the copy, as one of the backup that has this id there.
    #[must_use]
    pub fn known_at(&self, location: &str, backup_id: i64, copied_at: Timestamp) -> BackupCopy {
        let copy = &self.copy;
        BackupCopy {
            backup_id,
            backup_name: self.backup.backup_name.clone(),
            location: location.to_owned(),
            object_key: copy.key.clone(),
            version_id: copy.version_id.clone(),
            size: Some(copy.size),
            hash: Some(copy.hash.clone()),
            parts_hash: copy.parts_hash.clone(),
            recipients: copy.recipients.clone(),
            storage_class: copy.storage_class.clone(),
            locked_until: copy.locked_until,
            status: CopyStatus::Complete,
            copied_at: Some(copied_at),
            ..BackupCopy::default()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_backup_follow_from_that_of_its_archive() {
        let backup = Backup {
            backup_name: "a.tar.gz".into(),
            ..Backup::default()
        };
        for compression in ["gzip", "zstd"] {
            for is_encrypted in [false, true] {
                let backup = Backup {
                    compression_type: compression.into(),
                    ..backup.clone()
                };
                let keys = Keys::new(".w/1", &backup, "0123456789abcdef", is_encrypted);
                assert!(
                    keys.archive
                        .starts_with("_w_1/archives/a.tar.gz-0123456789ab.")
                );
                assert_eq!(Keys::of_archive(&keys.archive), keys);
                assert!(is_record(&keys.record) && !is_record(&keys.archive));
            }
        }
    }

    #[test]
    fn what_is_held_is_read_as_it_was_written() {
        let hash = "0".repeat(64);
        let backup = Backup {
            id: 7,
            backup_name: "a".into(),
            backup_path: "/b/a.tar.gz".into(),
            backup_hash: Some(hash.clone()),
            backup_metadata: [(PROBLEMS.into(), serde_json::json!([]))]
                .into_iter()
                .collect(),
            ..Backup::default()
        };
        let copy = BackupCopy {
            object_key: "w/archives/a-000000000000.tar.gz".into(),
            size: Some(1),
            hash: Some(hash),
            ..BackupCopy::default()
        };
        let held = Held::new(&backup, "w", "c0ffee", &copy).unwrap();
        let encrypted = BackupCopy {
            recipients: vec!["age1".into()],
            ..copy.clone()
        };
        let metadata = |copy| {
            Held::new(&backup, "w", "c0ffee", copy)
                .unwrap()
                .backup
                .backup_metadata
        };
        assert_eq!((metadata(&copy).len(), metadata(&encrypted).len()), (1, 0));
        let text = held.text().unwrap();
        assert_eq!(Held::parse(text.as_bytes()).unwrap(), held);
        // Tools that know records read it as one.
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["backup_name"], &line["host"]),
            (&"a".into(), &"w".into())
        );
        assert!(Held::parse(b"{}").is_err());
        for (good, bad) in [
            ("\"size\":1", "\"size\":-1"),
            ("archives/a-", "archives/a/"),
            ("c0ffee", "../x"),
            ("c0ffee", ""),
        ] {
            assert!(text.contains(good));
            let wrong = text.replace(good, bad);
            assert!(Held::parse(wrong.as_bytes()).is_err(), "{bad}");
        }
    }
}
