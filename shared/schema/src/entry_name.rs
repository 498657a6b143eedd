//! Normalizes the names of entries. Rejects names that leave the target.
//!
//! Knows no file system and no entry.

use anyhow::{Result, bail, ensure};

/// The limit of parts of a name: the archive may be hostile.
pub const DEPTH_MAX: usize = 4096;

/// Removes leading, trailing and double slashes and `.` from a name. The result is empty for the
/// directory that all names are relative to.
///
/// # Errors
/// A name with `..` or too many parts.
pub fn normalize(name: &[u8]) -> Result<Vec<u8>> {
    let parts = name.split(|byte| *byte == b'/');
    let parts = parts.filter(|part| !part.is_empty() && *part != b".");
    let mut plain = Vec::with_capacity(name.len());
    for (depth, part) in parts.enumerate() {
        if part == b".." {
            bail!("the name '{}' contains '..'", name.escape_ascii());
        }
        ensure!(depth < DEPTH_MAX, "a name has more than {DEPTH_MAX} parts");
        if depth > 0 {
            plain.push(b'/');
        }
        plain.extend_from_slice(part);
    }
    Ok(plain)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_or_refused() {
        for (name, told) in [
            ("/etc/passwd", "etc/passwd"),
            ("./a//b/./c/", "a/b/c"),
            (".", ""),
            ("///", ""),
            ("...", "..."),
            ("a/..b", "a/..b"),
        ] {
            assert_eq!(normalize(name.as_bytes()).unwrap(), told.as_bytes());
        }
        for name in ["..", "a/../b", "/..", "a/.."] {
            assert!(normalize(name.as_bytes()).is_err(), "{name}");
        }
        assert!(normalize(&b"a/".repeat(DEPTH_MAX)).is_ok());
        assert!(normalize(&b"a/".repeat(DEPTH_MAX + 1)).is_err());
    }
}
