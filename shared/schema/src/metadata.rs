//! Facts for the metadata as people write them: `KEY=VALUE`, JSON where it can be.
//!
//! Knows no record, but the keys of it that the programs keep to themselves.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::record::OWN_METADATA;

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
        !OWN_METADATA.contains(&key),
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
    fn a_pair_is_split_at_its_first_sign_and_has_a_key_of_its_own() {
        assert_eq!(split_pair("a=b=c").unwrap(), ("a", "b=c"));
        for bad in ["a", "=x", "sources=x", "last_verified="] {
            assert!(split_pair(bad).is_err(), "{bad}");
        }
    }
}
