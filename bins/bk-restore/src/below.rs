//! Checks what is below a directory that is to be exchanged, and would move away with it: other
//! file systems, bk's own home and archives, and files that were excluded from the backup.
//!
//! Changes nothing. Knows no archive.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use bk_archive::restore::names::{Selection, normalize};
use bk_archive::restore::remove::names_in;
use bk_schema::record::Backup;
use bk_store::archives::mounts::Mounts;
use serde_json::Value;

use crate::rename::open_dir;

/// So many paths are named in a message.
const NAMED: usize = 5;
/// No honest tree is deeper.
const DEPTH_MAX: usize = 1000;

/// bk's own directories.
pub(crate) struct Own {
    pub(crate) home: PathBuf,
    /// Directories that hold archives.
    pub(crate) storages: BTreeSet<PathBuf>,
}

/// # Errors
/// Another file system or something of bk's below the directory; `way` is the flags that leave it
/// where it is.
pub(crate) fn check(path: &Path, own: &Own, way: &str) -> Result<()> {
    let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let shown = path.display();
    let home = canonical(&own.home);
    ensure!(
        !home.starts_with(path) && !path.starts_with(&home),
        "'{shown}' cannot be exchanged: bk's own home is '{}'",
        home.display()
    );
    for storage in own.storages.iter().map(|it| canonical(it)) {
        ensure!(
            !storage.starts_with(path) || !storage.exists(),
            "'{shown}' cannot be exchanged: bk's archives in '{}' would go with what was there; {way} leaves them where they are",
            storage.display()
        );
    }
    let mounts = Mounts::read();
    let below = mounts.below(path);
    ensure!(
        below.is_empty(),
        "'{shown}' cannot be exchanged: {} would go with what was there; unmount it, or leave it where it is with {way}",
        named(
            below.iter().map(|it| it.display().to_string()),
            "is mounted below and",
            "are mounted below and"
        )
    );
    Ok(())
}

/// Names the files below a directory that `--exclude` left out of the backup; `None` where there are
/// none. `entry` is the directory's name in the archive.
pub(crate) fn excluded(backup: &Backup, path: &Path, entry: &[u8]) -> Option<String> {
    let Some(Value::Array(globs)) = backup.backup_metadata.get("excludes") else {
        return None;
    };
    let globs: Vec<_> = globs.iter().filter_map(Value::as_str).collect();
    if globs.is_empty() {
        return None;
    }
    // A glob that this version does not accept matches nothing.
    let selection = Selection::new(&[], &globs).ok()?;
    let mut found = Vec::new();
    let entry = normalize(entry).ok()?;
    if !entry.is_empty() && selection.takes(&entry, |_| {}) {
        // A glob that matches the source itself, which was backed up all the same.
        return None;
    }
    collect(path, &entry, &selection, 0, &mut found);
    let shown = found.iter().map(|path| path.display().to_string());
    (!found.is_empty()).then(|| {
        named(
            shown,
            "was excluded from the backup and",
            "were excluded from the backup and",
        )
    })
}

fn collect(dir: &Path, name: &[u8], excludes: &Selection, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(names) = open_dir(dir).and_then(names_in) else {
        return;
    };
    for last in names {
        let path = dir.join(std::ffi::OsStr::from_bytes(&last));
        let name = match name {
            [] => last,
            name => [name, b"/", &last].concat(),
        };
        if excludes.takes(&name, |_| {}) {
            found.push(path);
        } else if depth < DEPTH_MAX && path.symlink_metadata().is_ok_and(|it| it.is_dir()) {
            collect(&path, &name, excludes, depth + 1, found);
        }
    }
}

/// `'A', 'B' and 3 more VERB`.
fn named(all: impl Iterator<Item = String>, one: &str, many: &str) -> String {
    let all: Vec<_> = all.collect();
    let shown: Vec<_> = all.iter().take(NAMED).map(|it| format!("'{it}'")).collect();
    let more = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let verb = if all.len() == 1 { one } else { many };
    format!("{}{more} {verb}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_up_to_a_few() {
        let all = |count| named((0..count).map(|it: u32| it.to_string()), "is", "are");
        assert_eq!(all(1), "'0' is");
        assert_eq!(all(2), "'0', '1' are");
        assert_eq!(all(7), "'0', '1', '2', '3', '4' and 2 more are");
    }
}
