//! Names for backups, derived from file names.
//!
//! Knows no catalog.

use bk_archive::format::codec::Codec;
use bk_schema::record::{NUMBERED_MAX_BYTES, cut};

/// A valid backup name for this file name.
pub(crate) fn name_for(file_name: &str) -> String {
    let mut endings = Codec::ALL.iter().flat_map(|codec| codec.endings());
    let bare = endings.find_map(|ending| file_name.strip_suffix(ending));
    let bare = bare.unwrap_or(file_name);
    let plain: String = bare
        .chars()
        .map(|c| if c == '/' || c.is_control() { '-' } else { c })
        .collect();
    let name = cut(plain.trim_start_matches(['.', '-']));
    if name.is_empty() {
        "backup".to_owned()
    } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
        // It would be taken for an id.
        format!("backup-{}", &name[..name.len().min(NUMBERED_MAX_BYTES - 7)])
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bk_schema::record::{check_name, numbered};

    #[test]
    fn every_file_name_makes_a_name() {
        let long = format!("{}.tar.gz", "é".repeat(120));
        for (file, name) in [
            ("app.tar.gz", "app"),
            ("app.tgz", "app"),
            ("app.tar.zst", "app"),
            ("app.tzst", "app"),
            ("app.zst", "app.zst"),
            ("app.tar.gz.old", "app.tar.gz.old"),
            (".tar.gz", "backup"),
            (".hidden.tar.gz", "hidden"),
            ("-rf.tar.gz", "rf"),
            ("..-.tar.gz", "backup"),
            ("2026.tar.gz", "backup-2026"),
            ("a\nb\x1b.tar.gz", "a-b-"),
            ("a b.tar.gz", "a b"),
            (&*long, &*"é".repeat(97)),
        ] {
            assert_eq!(name_for(file), name, "{file}");
        }
        for file in ["7".repeat(255), "é".repeat(127), ".".repeat(9)] {
            let name = name_for(&file);
            for number in [1, 2, 99_999] {
                assert!(check_name(&numbered(&name, number)).is_ok(), "{name}");
            }
        }
    }
}
