//! The metadata of a record: the keys that bk reserves, who writes each, whether its value is
//! trusted when it comes from an archive; and the pairs that users add, `KEY=VALUE` with JSON
//! values where possible.
//!
//! Knows no record and no archive.

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

use crate::invalid::invalid;
use Written::{AtBirth, InRequest, Later};

/// A reserved key. No other key of an adopted archive has a meaning to bk.
#[derive(Debug)]
pub struct Key {
    /// The key in the JSON object.
    pub name: &'static str,
    /// The program that writes it.
    pub writer: &'static str,
    /// When it is written.
    pub written: Written,
    /// Whether a value has the right type.
    is_valid: fn(&Value) -> bool,
}

/// When a key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Before the archive is begun, so that the archive carries it too.
    AtBirth,
    /// The same, and the request of a backup may give it.
    InRequest,
    /// Later: a value that an archive carries is not trusted.
    Later,
}

const fn key(
    name: &'static str,
    writer: &'static str,
    written: Written,
    is_valid: fn(&Value) -> bool,
) -> Key {
    Key {
        name,
        writer,
        written,
        is_valid,
    }
}

/// Every reserved key; bk-record(5) has the same table.
pub const KEYS: &[Key] = &[
    key("sources", "bk-create", AtBirth, are_paths),
    key("sources_base64", "bk-create", AtBirth, are_texts),
    key("source_entries", "bk-create", AtBirth, are_texts),
    key("excludes", "bk-create", AtBirth, are_texts),
    key(
        "ignore_case_excludes",
        "bk-create",
        AtBirth,
        Value::is_boolean,
    ),
    key("exclude_caches", "bk-create", AtBirth, Value::is_boolean),
    key("exclude_if_present", "bk-create", AtBirth, are_texts),
    key("exclude_larger", "bk-create", AtBirth, Value::is_u64),
    key("one_file_system", "bk-create", AtBirth, Value::is_boolean),
    key("unmatched_excludes", "bk-create", AtBirth, are_texts),
    key("unseen_attributes", "bk-create", AtBirth, are_texts),
    key("stdin_filename", "bk-create", AtBirth, Value::is_string),
    key("command", "bk-create", AtBirth, Value::is_string),
    key("commands", "bk-create", AtBirth, are_named_texts),
    key("host", "bk-create", AtBirth, Value::is_string),
    key("job", "bk-auto", InRequest, Value::is_string),
    key("content_bytes", "bk-create", Later, Value::is_u64),
    key(COMMAND_BYTES, "bk-create", Later, Value::is_object),
    key("new_bytes", "bk-create", Later, Value::is_u64),
    key("parent", "bk-create", Later, Value::is_string),
    key(SHRUNK, "bk-create", Later, Value::is_object),
    key("compression_level", "bk-create", Later, Value::is_i64),
    key("manifest_hash", "bk-create", Later, Value::is_string),
    key(PROBLEMS, "bk-create", Later, Value::is_array),
    key("problem_count", "bk-create", Later, Value::is_u64),
    key("loss_count", "bk-create", Later, Value::is_u64),
    key("failure", "bk-create", Later, Value::is_string),
    key("damaged", "bk-adopt", Later, Value::is_string),
    key("archive_notes", "bk-adopt", Later, are_texts),
    key("moving", "bk-mv", Later, Value::is_object),
    key("last_verified", "bk-verify", Later, Value::is_object),
    key("last_checks", "bk-verify", Later, Value::is_object),
    key("last_restored_test", "bk-restore", Later, Value::is_object),
    key(REMOTE, "bk-pull", Later, Value::is_string),
];

/// What went wrong with files, each of which it names.
pub const PROBLEMS: &str = "problems";

/// The location that the archive is at, of a backup whose archive was never here.
pub const REMOTE: &str = "remote";

/// What tells of an archive as one catalog has it.
const OF_ONE_CATALOG: [&str; 6] = [
    "failure",
    "moving",
    "last_verified",
    "last_checks",
    "last_restored_test",
    REMOTE,
];

/// How much each of its commands printed, by the names of their files.
pub const COMMAND_BYTES: &str = "command_bytes";

/// Of a backup that holds much less than another one of its sources: what it was [held
/// against](held_against). Not of one that was accepted.
pub const SHRUNK: &str = "shrunk";

/// What a backup that shrank was held against; the bytes are those of the file of a command where that
/// alone shrank.
#[must_use]
pub fn held_against(backup_name: &str, content_bytes: u64, file: Option<&str>) -> Value {
    let mut held = json!({ "backup_name": backup_name, "content_bytes": content_bytes });
    if let Some(file) = file {
        held["name"] = file.into();
    }
    held
}

fn are_named_texts(value: &Value) -> bool {
    let all = value.as_object();
    all.is_some_and(|all| all.values().all(Value::is_string))
}

fn are_texts(value: &Value) -> bool {
    let all = value.as_array();
    all.is_some_and(|all| all.iter().all(Value::is_string))
}

/// Absolute paths, or `stdin:NAME`.
fn are_paths(value: &Value) -> bool {
    let is_source = |text: &str| text.starts_with('/') || text.starts_with("stdin:");
    let is_path = |it: &Value| it.as_str().is_some_and(is_source);
    value.as_array().is_some_and(|all| all.iter().all(is_path))
}

fn reserved(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The part of an archive's metadata that is trusted: all keys of users, and of the reserved ones
/// those that are written before the archive and have the right type.
pub fn trusted(mut metadata: Map<String, Value>) -> Map<String, Value> {
    metadata.retain(|name, value| {
        reserved(name).is_none_or(|key| key.written != Later && (key.is_valid)(value))
    });
    metadata
}

/// The part of the metadata of a record from another catalog that is true here: all keys of users, and of
/// the reserved ones those that tell of the archive and have the right type.
#[must_use]
pub fn of_archive(mut metadata: Map<String, Value>) -> Map<String, Value> {
    metadata.retain(|name, value| {
        !OF_ONE_CATALOG.contains(&name.as_str())
            && reserved(name).is_none_or(|key| (key.is_valid)(value))
    });
    metadata
}

/// Splits `KEY=VALUE`.
///
/// # Errors
/// A missing `=`, and the rules of [`check_key`].
pub fn split_pair(pair: &str) -> Result<(&str, &str)> {
    let (key, text) = pair
        .split_once('=')
        .ok_or_else(|| invalid("metadata", pair, "KEY=VALUE"))?;
    check_key(key)?;
    Ok((key, text))
}

/// The value of a text: JSON if printing it gives the same text again, blanks between its parts
/// aside; else the text itself. `1.10` stays a text, as the number would be printed as `1.1`; so does
/// a number with more digits than it can store.
pub fn parse_value(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if format!("{value}") == compact(text) => value,
        _ => Value::from(text),
    }
}

/// JSON without the blanks between its parts.
fn compact(text: &str) -> String {
    let (mut is_string, mut is_escaped) = (false, false);
    let is_kept = |c: &char| {
        if is_string {
            is_string = is_escaped || *c != '"';
            is_escaped = !is_escaped && *c == '\\';
            return true;
        }
        is_string = *c == '"';
        !matches!(c, ' ' | '\t' | '\r' | '\n')
    };
    text.chars().filter(is_kept).collect()
}

/// Checks that users may set a key.
///
/// # Errors
/// An empty key, and a reserved one.
pub fn check_key(key: &str) -> Result<()> {
    ensure!(!key.is_empty(), "a metadata key cannot be empty");
    ensure!(
        reserved(key).is_none_or(|it| it.written == InRequest),
        "the metadata key '{key}' is reserved: use another"
    );
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_json_where_it_can_be() {
        assert_eq!(parse_value("1"), 1);
        assert_eq!(
            parse_value("{\"b\":[null]}"),
            serde_json::json!({"b": [null]})
        );
        for (text, value) in [
            (
                "[\"a b\", {\"c\\\\\": -1}]",
                serde_json::json!(["a b", {"c\\": -1}]),
            ),
            ("1.5", 1.5.into()),
            ("-7", (-7).into()),
            ("true", true.into()),
            ("\"1.10\"", "1.10".into()),
        ] {
            assert_eq!(parse_value(text), value, "{text}");
        }
        for text in [
            "b=c",
            "",
            "1.10",
            "1.0e3",
            "-0",
            "007",
            "12345678901234567890123",
            "[1.10]",
            "{\"a\":1,\"a\":2}",
        ] {
            assert_eq!(parse_value(text), text);
        }
    }

    #[test]
    fn an_archive_is_believed_what_it_can_know_and_no_more() {
        let told = |metadata: Value| {
            let Value::Object(metadata) = metadata else {
                return Value::Null;
            };
            Value::Object(trusted(metadata))
        };
        let good = serde_json::json!({
            "sources": ["/a", "/b"], "source_entries": ["a", "b"], "excludes": [], "host": "h",
            "job": "nightly", "mine": {"moving": 1}
        });
        assert_eq!(told(good.clone()), good);
        let mut bad = serde_json::json!({
            "sources": ["etc"], "source_entries": [1], "excludes": "*", "host": ["h"], "job": null,
            "sources_base64": {}, "ignore_case_excludes": [], "exclude_caches": 1, "exclude_if_present": ".x",
            "exclude_larger": "1G", "one_file_system": "yes", "unmatched_excludes": [1], "unseen_attributes": 1,
            "stdin_filename": [], "command": ["rm"], "commands": {"a": 1},
        });
        let is_later = |key: &&Key| key.written == Written::Later;
        for key in KEYS.iter().filter(is_later) {
            let values = [
                1.into(),
                "x".into(),
                serde_json::json!({}),
                serde_json::json!([]),
            ];
            bad[key.name] = values.into_iter().find(|it| (key.is_valid)(it)).unwrap();
        }
        assert_eq!(bad["moving"], serde_json::json!({}));
        assert_eq!(bad.as_object().unwrap().len(), KEYS.len());
        assert_eq!(told(bad), serde_json::json!({}));
    }

    #[test]
    fn of_another_catalog_what_tells_of_the_archive_is_true_here() {
        let all = serde_json::json!({
            "mine": 1, "host": "h", "content_bytes": 7, "problem_count": "x", "moving": {}, "remote": "x",
            "last_verified": {}, "last_checks": {}, "last_restored_test": {}, "failure": "x"
        });
        let kept = of_archive(all.as_object().unwrap().clone());
        let expected = serde_json::json!({"mine": 1, "host": "h", "content_bytes": 7});
        assert_eq!(Value::Object(kept), expected);
    }

    /// The table of bk-record(5), and that each key is explained there.
    #[test]
    fn the_page_has_the_same_table() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../man/bk-record.5");
        let page = std::fs::read_to_string(page).unwrap();
        let section = page.split(".Sh METADATA").nth(1).unwrap();
        let section = section.split("\n.Sh ").next().unwrap();
        let (explained, table) = section.split_once(".Bl -column").unwrap();
        let rows = table.split("\n.El").next().unwrap().lines();
        let rows: Vec<_> = rows.filter_map(|it| it.strip_prefix(".It Cm ")).collect();
        let in_table = |key: &Key| {
            let told = match key.written {
                Written::AtBirth | Written::InRequest => "yes",
                Written::Later => "no",
            };
            format!("{} Ta {} Ta {told}", key.name, key.writer)
        };
        let wanted: Vec<_> = KEYS.iter().map(in_table).collect();
        assert_eq!(rows, wanted);
        for key in KEYS {
            let item = format!("\n.It Cm {} Pq ", key.name);
            assert!(explained.contains(&item), "{}", key.name);
        }
    }

    #[test]
    fn a_pair_is_split_at_its_first_sign_and_has_a_key_of_its_own() {
        assert_eq!(split_pair("a=b=c").unwrap(), ("a", "b=c"));
        for bad in ["a", "=x", "sources=x", "last_verified="] {
            assert!(split_pair(bad).is_err(), "{bad}");
        }
    }
}
