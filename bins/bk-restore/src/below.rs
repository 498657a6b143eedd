//! Checks what is below a directory that is to be exchanged, and would move away with it: other
//! file systems, bk's own home and archives, and files that were excluded from the backup.
//!
//! Changes nothing. Knows no archive.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use bk_archive::write::filter::Filter;
use bk_archive::write::walk::{Source, walk};
use bk_schema::excludes::Excludes;
use bk_schema::record::Backup;
use bk_store::archives::mounts::Mounts;
use serde_json::Value;

/// So many paths are named in a message.
const NAMED: usize = 5;

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

/// Names the files below a directory that were left out of the backup; `None` where there are none. `entry`
/// is the directory's name in the archive.
pub(crate) fn excluded(backup: &Backup, path: &Path, entry: &[u8]) -> Option<String> {
    let excludes = Excludes::of(&backup.backup_metadata);
    if excludes == Excludes::default() {
        return None;
    }
    // A glob that this version does not accept matches nothing.
    let without_globs = Excludes {
        globs: Vec::new(),
        ..excludes.clone()
    };
    let filter = Filter::new(&excludes).or_else(|_| Filter::new(&without_globs));
    let mut filter = filter.ok()?;
    filter.other_sources = source_entries(backup);
    let source = Source {
        path: path.to_owned(),
        name: OsStr::from_bytes(entry).into(),
    };
    // Both come in one order, so what is left out is what the second lacks.
    let mut everything = Filter::default();
    everything.other_sources.clone_from(&filter.other_sources);
    let mut kept = walk(&source, &filter).flatten().peekable();
    let mut found: Vec<PathBuf> = Vec::new();
    for there in walk(&source, &everything).flatten() {
        let path = there.place.path;
        while kept.next_if(|it| it.place.path < path).is_some() {}
        if kept.next_if(|it| it.place.path == path).is_some() {
            continue;
        }
        // With a directory goes what is in it.
        if !found.last().is_some_and(|last| path.starts_with(last)) {
            found.push(path);
        }
    }
    let shown = found.iter().map(|path| path.display().to_string());
    (!found.is_empty()).then(|| {
        named(
            shown,
            "was excluded from the backup and",
            "were excluded from the backup and",
        )
    })
}

/// The names in the archive of all its sources: one that lies in another is in the backup, whatever matches.
fn source_entries(backup: &Backup) -> HashSet<PathBuf> {
    let names = backup.backup_metadata.get("source_entries");
    let names = names.and_then(Value::as_array).into_iter().flatten();
    let names = names.filter_map(Value::as_str);
    names.map(PathBuf::from).collect()
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
