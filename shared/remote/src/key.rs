//! The names of objects below a location: `HOST/archives/NAME`, relative to its prefix.
//!
//! Knows no place; a key that passes here is a safe relative path in a directory too.

/// Longer names are refused by S3 and by object stores that are like it.
const MOST_BYTES: usize = 1024;
/// And these by file systems.
const MOST_SEGMENT_BYTES: usize = 255;

/// Why a text is no key; `None` if it is one.
pub(crate) fn flaw(key: &str) -> Option<String> {
    if key.len() > MOST_BYTES {
        return Some(format!("longer than {MOST_BYTES} bytes"));
    }
    key.split('/').find_map(|segment| match segment {
        "" => Some("it has an empty part between slashes".to_owned()),
        "." | ".." => Some(format!("'{segment}' is no part of a name")),
        _ if segment.len() > MOST_SEGMENT_BYTES => {
            Some(format!("a part is longer than {MOST_SEGMENT_BYTES} bytes"))
        }
        _ if segment.chars().any(char::is_control) => Some("it has a control character".to_owned()),
        _ => None,
    })
}

/// One below another, where the upper one may be empty.
pub(crate) fn join(prefix: &str, key: &str) -> String {
    match (prefix, key) {
        ("", key) => key.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, key) => format!("{prefix}/{key}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_below_its_prefix() {
        for key in ["web1/archives/a-1.tar.gz", "ü", "a b", "...", "a/.b", "-n"] {
            assert_eq!(flaw(key), None, "{key}");
        }
        let long = "a/".repeat(600) + "a";
        let part = "a".repeat(256);
        for key in [
            "", "/a", "a/", "a//b", "..", "a/../b", "a/.", "a\nb", "a/\u{7f}", &long, &part,
        ] {
            assert!(flaw(key).is_some(), "{key:?}");
        }
    }

    #[test]
    fn a_key_is_joined_to_a_prefix_or_none() {
        assert_eq!(join("a/b", "c/d"), "a/b/c/d");
        assert_eq!(join("", "c"), "c");
        assert_eq!(join("a", ""), "a");
    }
}
