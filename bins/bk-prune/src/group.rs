//! Groups of backups, within which rules count: backups whose keys are the same.
//!
//! Knows no rule.

use anyhow::{Result, ensure};
use bk_schema::host::Host;
use bk_schema::invalid::parse_choice;
use bk_schema::record::Backup;
use serde_json::Value;

/// What backups of one group share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Job,
    Host,
    Sources,
    Type,
    Version,
}

const KEYS: [(&str, Key); 5] = [
    ("job", Key::Job),
    ("host", Key::Host),
    ("sources", Key::Sources),
    ("type", Key::Type),
    ("version", Key::Version),
];

/// Where a source is not UTF-8, `sources` alone may be the same for several.
const EXACT_SOURCES: &str = "sources_base64";

impl Key {
    /// Keys from `sources,type`; `none` is none.
    ///
    /// # Errors
    /// An unknown key; `none` among others.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Self>> {
        if text == "none" {
            return Ok(Vec::new());
        }
        let words: Vec<_> = text.split(',').map(str::trim).collect();
        ensure!(!words.contains(&"none"), "'none' stands alone");
        words
            .into_iter()
            // As the flag of bk-ls is called.
            .map(|word| if word == "source" { "sources" } else { word })
            .map(|word| parse_choice(&KEYS, word, "key"))
            .collect()
    }

    fn values(self, backup: &Backup, here: &Host) -> Vec<Value> {
        let metadata = |key| backup.backup_metadata.get(key).cloned().unwrap_or_default();
        match self {
            Self::Sources => vec![metadata("sources"), metadata(EXACT_SOURCES)],
            Self::Type => vec![backup.backup_type.name().into()],
            Self::Version => vec![backup.source_version.clone().into()],
            Self::Host => vec![here.of(backup).into()],
            Self::Job => vec![backup.job().into()],
        }
    }

    fn label(self, backup: &Backup, here: &Host) -> String {
        let unknown = || "-".to_owned();
        match self {
            Self::Sources => {
                let sources = backup.backup_metadata.get("sources");
                let sources = sources.and_then(Value::as_array).into_iter().flatten();
                let sources: Vec<_> = sources.filter_map(Value::as_str).collect();
                if sources.is_empty() {
                    unknown()
                } else {
                    sources.join(" ")
                }
            }
            Self::Type => backup.backup_type.name().to_owned(),
            Self::Version => backup.source_version.clone().unwrap_or_else(unknown),
            Self::Host => here.of(backup).map_or_else(unknown, str::to_owned),
            Self::Job => backup.job().map_or_else(unknown, str::to_owned),
        }
    }
}

/// What tells a group from the others.
pub(crate) fn id_of(backup: &Backup, keys: &[Key], here: &Host) -> String {
    let values = keys.iter().flat_map(|key| key.values(backup, here));
    Value::Array(values.collect()).to_string()
}

/// The group for people.
pub(crate) fn label_of(backup: &Backup, keys: &[Key], here: &Host) -> String {
    let labels: Vec<_> = keys.iter().map(|key| key.label(backup, here)).collect();
    if labels.is_empty() {
        "all".to_owned()
    } else {
        labels.join(", ")
    }
}
