//! The metadata of a record: the keys that mean something to bk, with who writes them and whether
//! an archive is believed what it tells of them, and facts of their own as people write them:
//! `KEY=VALUE`, JSON where it can be.
//!
//! Knows no record and no archive.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

/// A key of bk's own. No other key of an adopted archive has a meaning to bk.
#[derive(Debug)]
pub struct Key {
    /// As it stands in the metadata.
    pub name: &'static str,
    /// The program that writes it.
    pub writer: &'static str,
    /// When it is.
    pub told: Told,
    /// Whether a value is of its type.
    is_one: fn(&Value) -> bool,
}

/// When a key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Before the archive is begun, so that the archive tells it too.
    AtBirth,
    /// The same, and given in the request of the backup.
    InRequest,
    /// Later: what an archive tells of it is not believed.
    Later,
}

const fn key(
    name: &'static str,
    writer: &'static str,
    told: Told,
    is_one: fn(&Value) -> bool,
) -> Key {
    Key {
        name,
        writer,
        told,
        is_one,
    }
}

/// Every key of bk's own; bk-record(5) has the same table.
pub const KEYS: &[Key] = &[
    key("sources", "bk-create", Told::AtBirth, are_paths),
    key("sources_base64", "bk-create", Told::AtBirth, are_texts),
    key("source_entries", "bk-create", Told::AtBirth, are_texts),
    key("excludes", "bk-create", Told::AtBirth, are_texts),
    key("unmatched_excludes", "bk-create", Told::AtBirth, are_texts),
    key("unseen_attributes", "bk-create", Told::AtBirth, are_texts),
    key(
        "stdin_filename",
        "bk-create",
        Told::AtBirth,
        Value::is_string,
    ),
    key("command", "bk-create", Told::AtBirth, Value::is_string),
    key("host", "bk-create", Told::AtBirth, Value::is_string),
    key("job", "bk-auto", Told::InRequest, Value::is_string),
    key("content_bytes", "bk-create", Told::Later, Value::is_u64),
    key("problems", "bk-create", Told::Later, Value::is_array),
    key("problem_count", "bk-create", Told::Later, Value::is_u64),
    key("loss_count", "bk-create", Told::Later, Value::is_u64),
    key("failure", "bk-create", Told::Later, Value::is_string),
    key("damaged", "bk-adopt", Told::Later, Value::is_string),
    key("archive_notes", "bk-adopt", Told::Later, are_texts),
    key("moving", "bk-mv", Told::Later, Value::is_object),
    key("last_verified", "bk-verify", Told::Later, Value::is_object),
    key("last_checks", "bk-verify", Told::Later, Value::is_object),
    key(
        "last_restored_test",
        "bk-restore",
        Told::Later,
        Value::is_object,
    ),
];

fn are_texts(value: &Value) -> bool {
    let all = value.as_array();
    all.is_some_and(|all| all.iter().all(Value::is_string))
}

/// Paths, or what came through a pipe.
fn are_paths(value: &Value) -> bool {
    let is_source = |text: &str| text.starts_with('/') || text.starts_with("stdin:");
    let is_path = |it: &Value| it.as_str().is_some_and(is_source);
    value.as_array().is_some_and(|all| all.iter().all(is_path))
}

fn own(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// What is believed of the metadata that an archive tells: people's own facts, and of bk's own
/// those of the birth that are of their type.
#[must_use]
pub fn believed(mut told: Map<String, Value>) -> Map<String, Value> {
    told.retain(|name, value| {
        own(name).is_none_or(|key| key.told != Told::Later && (key.is_one)(value))
    });
    told
}

/// The key and the text of a pair.
///
/// # Errors
/// What is no pair, or has a key that nobody may set.
pub fn split_pair(pair: &str) -> Result<(&str, &str)> {
    let (key, text) = pair
        .split_once('=')
        .with_context(|| format!("'{pair}' is not KEY=VALUE"))?;
    check_key(key)?;
    Ok((key, text))
}

/// The value that a text means: JSON where that is all of it, else the text itself. `1.10` is a
/// version and no number, which would come out as `1.1`; so is one with more digits than a
/// number keeps.
#[must_use]
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

/// # Errors
/// A key that nobody may set.
pub fn check_key(key: &str) -> Result<()> {
    ensure!(!key.is_empty(), "a key of the metadata cannot be empty");
    ensure!(
        own(key).is_none_or(|own| own.told == Told::InRequest),
        "the key '{key}' of the metadata is bk's own"
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
            Value::Object(believed(metadata))
        };
        let good = serde_json::json!({
            "sources": ["/a", "/b"], "source_entries": ["a", "b"], "excludes": [], "host": "h",
            "job": "nightly", "mine": {"moving": 1}
        });
        assert_eq!(told(good.clone()), good);
        let mut bad = serde_json::json!({
            "sources": ["etc"], "source_entries": [1], "excludes": "*", "host": ["h"], "job": null,
            "sources_base64": {}, "unmatched_excludes": [1], "unseen_attributes": 1,
            "stdin_filename": [], "command": ["rm"],
        });
        let is_later = |key: &&Key| key.told == Told::Later;
        for key in KEYS.iter().filter(is_later) {
            let values = [
                1.into(),
                "x".into(),
                serde_json::json!({}),
                serde_json::json!([]),
            ];
            bad[key.name] = values.into_iter().find(|it| (key.is_one)(it)).unwrap();
        }
        assert_eq!(bad["moving"], serde_json::json!({}));
        assert_eq!(bad.as_object().unwrap().len(), KEYS.len());
        assert_eq!(told(bad), serde_json::json!({}));
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
            let told = match key.told {
                Told::AtBirth | Told::InRequest => "yes",
                Told::Later => "no",
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
