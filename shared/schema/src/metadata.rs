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

/// The value that a text means: JSON where it is some, else the text itself.
#[must_use]
pub fn parse_value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
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
        assert_eq!(parse_value("b=c"), "b=c");
        assert_eq!(parse_value(""), "");
    }

    #[test]
    fn a_pair_is_split_at_its_first_sign_and_has_a_key_of_its_own() {
        assert_eq!(split_pair("a=b=c").unwrap(), ("a", "b=c"));
        for bad in ["a", "=x", "sources=x", "last_verified="] {
            assert!(split_pair(bad).is_err(), "{bad}");
        }
    }
}
