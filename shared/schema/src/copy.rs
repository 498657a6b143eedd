//! A copy of a backup at a location: the type that is serialised, and the rules it must keep.
//!
//! Knows of a location only its name; no SQL, no network. Key names and types are a contract.

use anyhow::{Result, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::invalid::{invalid, name_in, parse_choice};

/// Longest name of a location in bytes.
const LOCATION_MAX_BYTES: usize = 64;

/// One row of `backup_copies`; its line has the keys of what is known of the object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BackupCopy {
    /// Of the backup, whose record may be gone.
    #[serde(skip)]
    pub backup_id: i64,
    /// The name that the backup had when it was copied.
    #[serde(skip)]
    pub backup_name: String,
    /// See [`check_location`].
    pub location: String,
    /// What the object is named there.
    #[serde(rename = "key")]
    pub object_key: String,
    /// Which version of the object, where the store keeps more than one.
    pub version_id: Option<String>,
    /// Bytes of the object; null until they are known.
    pub size: Option<u64>,
    /// SHA-256 of the object in lower-case hex, which is that of the archive only where it is not
    /// encrypted; null until it is known.
    pub hash: Option<String>,
    /// The public keys that it is encrypted to; empty if it is not.
    pub recipients: Vec<String>,
    /// What the store calls its class.
    pub storage_class: Option<String>,
    /// Until when the store refuses its removal.
    pub locked_until: Option<Timestamp>,
    /// What state it is in.
    pub status: CopyStatus,
    /// The SHA-256 of the SHA-256 of each of its parts, in lower-case hex, a hyphen, and how many they are: what S3
    /// tells of an object that came in parts. Null where it came whole.
    #[serde(skip)]
    pub parts_hash: Option<String>,
    /// When the object was complete; null until then. It stays where that was found bad, or is being replaced.
    pub copied_at: Option<Timestamp>,
    /// When it was last found as it should be.
    pub checked_at: Option<Timestamp>,
}

/// What state a copy is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyStatus {
    /// It is being written.
    #[default]
    Copying,
    /// The object is there, whole.
    Complete,
    /// There is no whole object.
    Failed,
}

impl CopyStatus {
    /// Every status with its name in JSON.
    pub const ALL: [(&'static str, Self); 3] = [
        ("copying", Self::Copying),
        ("complete", Self::Complete),
        ("failed", Self::Failed),
    ];

    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_in(&Self::ALL, self)
    }

    /// Parses the name that it has in JSON.
    ///
    /// # Errors
    /// An unknown name; the message lists the known ones.
    pub fn parse(text: &str) -> Result<Self> {
        parse_choice(&Self::ALL, text, "status of a copy")
    }
}

/// Checks the name of a location: it is also part of thresholds and labels.
///
/// # Errors
/// The rule that it breaks.
pub fn check_location(name: &str) -> Result<()> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let accepted = if name.len() > LOCATION_MAX_BYTES {
        "at most 64 bytes"
    } else if !name.starts_with(|it: char| it.is_ascii_alphanumeric()) {
        "a letter or a digit as its first character"
    } else if !name.bytes().all(is_word) {
        "letters, digits, '.', '_' and '-'"
    } else {
        return Ok(());
    };
    Err(invalid("location", name, accepted))
}

/// Whether it is the text of one, in lower-case hex.
pub(crate) fn is_sha256(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 64 && text.bytes().all(is_hex)
}

fn is_of_parts(text: &str) -> bool {
    let parts = text.split_once('-');
    parts.is_some_and(|(hash, count)| is_sha256(hash) && count.parse::<u32>().is_ok())
}

impl BackupCopy {
    /// Whether the object is there, whole, as far as is known.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.status == CopyStatus::Complete
    }

    /// Checks the rules of a copy. The catalog calls it on every write and every read.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<()> {
        check_location(&self.location)?;
        ensure!(
            self.backup_id > 0,
            "the id {} of its backup is not positive",
            self.backup_id
        );
        ensure!(!self.object_key.is_empty(), "its key is empty");
        // The catalog holds no larger numbers.
        let fits = self.size.is_none_or(|it| i64::try_from(it).is_ok());
        ensure!(fits, "its size is out of range");
        ensure!(
            self.hash.as_deref().is_none_or(is_sha256),
            "its hash is not 64 lower-case hex digits"
        );
        ensure!(
            self.parts_hash.as_deref().is_none_or(is_of_parts),
            "the hash of its parts is not 64 lower-case hex digits, a hyphen and a number"
        );
        let is_known = self.size.is_some() && self.hash.is_some() && self.copied_at.is_some();
        ensure!(
            is_known || !self.is_complete(),
            "it is complete without a size, a hash and a time"
        );
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_word_that_is_no_flag() {
        for good in ["offsite", "nas-2", "S3.eu_west"] {
            check_location(good).unwrap();
        }
        let long = "x".repeat(65);
        for bad in ["", "-n", ".x", "a b", "a:b", "a>b", "a/b", "é", &long] {
            assert!(check_location(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_keys_of_a_copy_are_a_contract_and_a_complete_one_is_known() {
        let copy = BackupCopy {
            backup_id: 7,
            backup_name: "a".into(),
            location: "offsite".into(),
            object_key: "web/archives/a-0123.tar.gz".into(),
            size: Some(1),
            hash: Some("0".repeat(64)),
            status: CopyStatus::Complete,
            parts_hash: Some(format!("{}-2", "0".repeat(64))),
            copied_at: Some("2026-11-24T08:00:00Z".parse().unwrap()),
            ..BackupCopy::default()
        };
        copy.check().unwrap();
        let hash = "0".repeat(64);
        assert_eq!(
            serde_json::to_string(&copy).unwrap(),
            format!(
                r#"{{"location":"offsite","key":"web/archives/a-0123.tar.gz","version_id":null,"size":1,"hash":"{hash}","recipients":[],"storage_class":null,"locked_until":null,"status":"complete","copied_at":"2026-11-24T08:00:00Z","checked_at":null}}"#
            )
        );
        for unknown in [
            BackupCopy {
                size: None,
                ..copy.clone()
            },
            BackupCopy {
                hash: None,
                ..copy.clone()
            },
            BackupCopy {
                copied_at: None,
                ..copy.clone()
            },
            BackupCopy {
                parts_hash: copy.hash.clone(),
                ..copy.clone()
            },
            BackupCopy {
                object_key: String::new(),
                ..copy.clone()
            },
            BackupCopy {
                backup_id: 0,
                ..copy.clone()
            },
        ] {
            assert!(unknown.check().is_err(), "{unknown:?}");
        }
    }
}
