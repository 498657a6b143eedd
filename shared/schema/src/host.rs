//! The host that a home belongs to, and which backups were made on it; others were adopted.
//!
//! Knows no catalog.

use anyhow::Result;
use serde_json::Value;

use crate::invalid::invalid;
use crate::record::Backup;

/// The environment variable that overrides the host of a home.
pub const VARIABLE: &str = "BK_HOST";
/// The metadata key for the host that a backup was made on.
pub const KEY: &str = "host";
const NAME_MAX_BYTES: usize = 255;

/// The host of a home.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// The name that new backups get.
    pub name: String,
    /// Names of the same machine from before the home stored one.
    pub earlier: Vec<String>,
}

impl Host {
    /// The host that a backup was made on, earlier names replaced by the present one; `None` if it
    /// is not recorded.
    pub fn of<'a>(&'a self, backup: &'a Backup) -> Option<&'a str> {
        let name = backup.backup_metadata.get(KEY).and_then(Value::as_str)?;
        Some(self.present(name))
    }

    /// The name that a host has now, by any that it had.
    #[must_use]
    pub fn present<'a>(&'a self, name: &'a str) -> &'a str {
        let is_earlier = self.earlier.iter().any(|it| it == name);
        if is_earlier { &self.name } else { name }
    }

    /// The same for backups of the same sources on the same host, stored under the same names; `None` if
    /// its sources are not known.
    #[must_use]
    pub fn origin(&self, backup: &Backup) -> Option<String> {
        let key = |key| backup.backup_metadata.get(key).map(ToString::to_string);
        let sources = key("sources_base64").or(key("sources"))?;
        let names = key("source_entries").unwrap_or_default();
        let host = self.of(backup).unwrap_or_default();
        Some(format!("{host} {sources} {names}"))
    }

    /// Whether a backup was made on this host.
    pub fn has(&self, backup: &Backup) -> bool {
        self.of(backup) == Some(&self.name)
    }
}

/// Checks a host name: 1 to 255 bytes without blanks and control characters.
///
/// # Errors
/// Anything else.
pub fn parse(text: &str) -> Result<String> {
    let is_length_ok = (1..=NAME_MAX_BYTES).contains(&text.len());
    if !is_length_ok || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let accepted = "1 to 255 bytes without blanks";
        return Err(invalid("host name", text, accepted));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_home_knows_its_own_backups_by_each_name_that_it_had() {
        let host = Host {
            name: "db1".into(),
            earlier: vec!["c0ffee".into()],
        };
        let of = |metadata: &str| {
            let line = format!(
                r#"{{"id":1,"backup_name":"a","backup_type":"manual","status":"completed","source_version":null,"backup_path":"/a","backup_size":1,"file_count":1,"compression_type":"gzip","backup_hash":null,"description":null,"backup_metadata":{metadata},"protected":false,"created_at":"2026-01-01T00:00:00Z","expires_at":null}}"#
            );
            let backup: Backup = serde_json::from_str(&line).unwrap();
            (host.of(&backup).map(str::to_owned), host.has(&backup))
        };
        assert_eq!(of(r#"{"host":"db1"}"#), (Some("db1".into()), true));
        assert_eq!(of(r#"{"host":"c0ffee"}"#), (Some("db1".into()), true));
        assert_eq!(of(r#"{"host":"web2"}"#), (Some("web2".into()), false));
        assert_eq!(of("{}"), (None, false));
        assert_eq!(of(r#"{"host":7}"#), (None, false));
        for bad in ["", "a b", "a\n", &"x".repeat(256)] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(parse("db1.example.org").unwrap(), "db1.example.org");
    }
}
