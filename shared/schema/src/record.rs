//! The record of one backup: the type that is serialised, and the rules it must keep.
//!
//! Knows no SQL and no command line. Key names and types are a contract: they only grow.

use anyhow::{Result, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::copy::{BackupCopy, is_sha256};
use crate::invalid::{invalid, name_in, parse_choice};
use crate::metadata::REMOTE;

/// Longest name in bytes: `NAME.tar.zst.partial` must be a file name of at most 255.
pub const NAME_MAX_BYTES: usize = 200;
/// The longest name that leaves room for `_99999`.
pub const NUMBERED_MAX_BYTES: usize = NAME_MAX_BYTES - 6;

/// One row of `backup_records`, keys in column order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Primary key, from a sequence, never reused.
    pub id: i64,
    /// Unique; see [`check_name`].
    pub backup_name: String,
    /// Why it was made.
    pub backup_type: BackupType,
    /// What state it is in.
    pub status: Status,
    /// Version of what was backed up.
    pub source_version: Option<String>,
    /// Absolute path of the archive.
    pub backup_path: String,
    /// Bytes of the archive; null until it is completed.
    pub backup_size: Option<u64>,
    /// Entries that are not directories; null until it is completed.
    pub file_count: Option<u64>,
    /// `gzip` or `zstd`.
    pub compression_type: String,
    /// SHA-256 of the archive in lower-case hex; null until it is completed.
    pub backup_hash: Option<String>,
    /// A note of the user.
    pub description: Option<String>,
    /// A JSON object.
    pub backup_metadata: Map<String, Value>,
    /// Whether removal is refused.
    pub protected: bool,
    /// When the run that made it began.
    pub created_at: Timestamp,
    /// From when on it may be removed.
    pub expires_at: Option<Timestamp>,
    /// What is known of copies elsewhere, by location: rows of `backup_copies`, and no column.
    #[serde(skip)]
    pub copies: Vec<BackupCopy>,
}

/// Why a backup was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackupType {
    /// By hand.
    #[default]
    Manual,
    /// Just before an upgrade.
    PreUpgrade,
    /// By a schedule.
    Automatic,
}

/// What state a backup is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The archive is being written.
    #[default]
    Creating,
    /// The archive is complete.
    Completed,
    /// There is no complete archive.
    Failed,
    /// The archive is being moved to another directory.
    Moving,
    /// The archive is being removed.
    Deleting,
}

impl BackupType {
    /// Every type with its name in JSON.
    pub const ALL: [(&'static str, Self); 3] = [
        ("manual", Self::Manual),
        ("pre-upgrade", Self::PreUpgrade),
        ("automatic", Self::Automatic),
    ];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        name_in(&Self::ALL, self)
    }

    /// Parses the name that it has in JSON.
    ///
    /// # Errors
    /// An unknown name; the message lists the known ones.
    pub fn parse(text: &str) -> Result<Self> {
        parse_choice(&Self::ALL, text, "type")
    }
}

impl Status {
    /// Every status with its name in JSON.
    pub const ALL: [(&'static str, Self); 5] = [
        ("creating", Self::Creating),
        ("completed", Self::Completed),
        ("failed", Self::Failed),
        ("moving", Self::Moving),
        ("deleting", Self::Deleting),
    ];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        name_in(&Self::ALL, self)
    }

    /// Why the archive of a backup cannot be read, moved, removed or changed now; `None` if it is
    /// completed.
    pub fn obstacle(self) -> Option<&'static str> {
        match self {
            Self::Completed => None,
            Self::Creating => Some("another program is creating it"),
            Self::Failed => Some("it failed and has no archive"),
            Self::Moving => Some("another program is moving it"),
            Self::Deleting => Some("another program is removing it"),
        }
    }

    /// Parses the name that it has in JSON.
    ///
    /// # Errors
    /// An unknown name; the message lists the known ones.
    pub fn parse(text: &str) -> Result<Self> {
        parse_choice(&Self::ALL, text, "status")
    }
}

/// Checks a name: it must be a file name that is neither taken for an id nor for a flag.
///
/// # Errors
/// The rule that it breaks.
pub fn check_name(name: &str) -> Result<()> {
    ensure!(!name.is_empty(), "a name cannot be empty");
    let accepted = if name.len() > NAME_MAX_BYTES {
        "at most 200 bytes"
    } else if name.contains('/') || name.chars().any(char::is_control) {
        "no slash and no control character"
    } else if name.starts_with(['.', '-']) {
        "another first character than a dot or a dash"
    } else if name.bytes().all(|b| b.is_ascii_digit()) {
        "more than digits, which are an id"
    } else {
        return Ok(());
    };
    Err(invalid("name", name, accepted))
}

/// Checks the name of a backup that is to be made, or renamed.
///
/// # Errors
/// The rules of [`check_name`]; a name that stands for another backup.
pub fn check_new_name(name: &str) -> Result<()> {
    check_name(name)?;
    ensure!(
        Latest::parse(name).is_none(),
        "the name '{}' stands for the newest backup",
        name.escape_debug()
    );
    Ok(())
}

/// A name with a number unless that is 1, for one that is taken.
#[must_use]
pub fn numbered(name: &str, number: u64) -> String {
    match number {
        1 => name.to_owned(),
        _ => format!("{}_{number}", cut(name)),
    }
}

/// A name that leaves room for `_99999`.
#[must_use]
pub fn cut(name: &str) -> &str {
    let ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|end| *end <= NUMBERED_MAX_BYTES).last();
    &name[..end.unwrap_or(0)]
}

/// A name that stands for the newest completed backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latest<'a> {
    /// `latest`.
    OfAll,
    /// `latest:JOB`.
    OfJob(&'a str),
}

impl<'a> Latest<'a> {
    /// `None` for any other name.
    #[must_use]
    pub fn parse(name: &'a str) -> Option<Self> {
        match name.strip_prefix("latest")? {
            "" => Some(Self::OfAll),
            rest => rest.strip_prefix(':').map(Self::OfJob),
        }
    }
}

impl Backup {
    /// The keys of a line, which are the columns, in their order.
    pub const KEYS: [&'static str; 15] = [
        "id",
        "backup_name",
        "backup_type",
        "status",
        "source_version",
        "backup_path",
        "backup_size",
        "file_count",
        "compression_type",
        "backup_hash",
        "description",
        "backup_metadata",
        "protected",
        "created_at",
        "expires_at",
    ];

    /// The job of bk-auto that it was made for.
    #[must_use]
    pub fn job(&self) -> Option<&str> {
        self.backup_metadata.get("job").and_then(Value::as_str)
    }

    /// The location that its archive is at, where that was never here, and as long as its copy is known there.
    #[must_use]
    pub fn remote(&self) -> Option<&str> {
        let location = self.backup_metadata.get(REMOTE).and_then(Value::as_str);
        location.filter(|it| self.has_copy(it))
    }

    /// Whether there is a complete copy at a location.
    #[must_use]
    pub fn has_copy(&self, location: &str) -> bool {
        let mut complete = self.copies.iter().filter(|it| it.is_complete());
        complete.any(|it| it.location == location)
    }

    /// Checks the rules of a record. The catalog calls it on every write and every read.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<()> {
        check_name(&self.backup_name)?;
        ensure!(self.id > 0, "its id {} is not positive", self.id);
        ensure!(
            self.backup_path.starts_with('/'),
            "its path '{}' is not absolute",
            self.backup_path.escape_debug()
        );
        // The catalog holds no larger numbers.
        let fits = |number: Option<u64>| number.is_none_or(|it| i64::try_from(it).is_ok());
        ensure!(fits(self.backup_size), "its size is out of range");
        ensure!(fits(self.file_count), "its file count is out of range");
        ensure!(
            self.backup_hash.as_deref().is_none_or(is_sha256),
            "its hash is not 64 lower-case hex digits"
        );
        if self.status == Status::Completed {
            let known = self.backup_size.is_some()
                && self.file_count.is_some()
                && self.backup_hash.is_some();
            ensure!(
                known,
                "it is completed without a size, a file count and a hash"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_name_and_no_id_and_no_flag() {
        for good in ["nightly-3", "manual_2026-11-24_08-00-00", "a b", "é", "7a"] {
            check_name(good).unwrap();
        }
        let long = "x".repeat(201);
        for bad in ["", "7", "-n", ".x", "..", "a/b", "a\nb", "a\0", &long] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_keys_of_a_line_are_the_columns_in_their_order() {
        let line = r#"{"id":1,"backup_name":"a","backup_type":"pre-upgrade","status":"completed","source_version":null,"backup_path":"/b/a.tar.gz","backup_size":1,"file_count":0,"compression_type":"gzip","backup_hash":"0000000000000000000000000000000000000000000000000000000000000000","description":null,"backup_metadata":{},"protected":false,"created_at":"2026-11-24T08:00:00Z","expires_at":null}"#;
        let backup: Backup = serde_json::from_str(line).unwrap();
        backup.check().unwrap();
        assert_eq!(serde_json::to_string(&backup).unwrap(), line);
        let object: Map<String, Value> = serde_json::from_str(line).unwrap();
        assert!(object.keys().eq(Backup::KEYS));
        let torn = Backup {
            backup_hash: None,
            ..backup.clone()
        };
        assert!(torn.check().is_err());
        let relative = Backup {
            backup_path: "a.tar.gz".into(),
            ..backup
        };
        assert!(relative.check().is_err());
    }
}
