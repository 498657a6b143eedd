//! Removes what belongs to no record: manifests of archives that are gone, and what dead processes left.
//!
//! Called by every writer of the catalog, so it costs a listing of one directory. Knows no DuckDB.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;

use crate::flock;
use crate::home::Home;
use crate::manifest::table::dir;
use crate::manifest::writer::PARTIAL;

/// The archive hashes of all manifests; none where there is no directory of them.
pub(crate) fn archive_hashes(home: &Home) -> Vec<String> {
    let names = std::fs::read_dir(dir(home)).into_iter().flatten().flatten();
    let names = names.filter_map(|it| it.file_name().into_string().ok());
    let hashes = names.filter_map(|it| it.strip_suffix(".parquet").map(str::to_owned));
    hashes.collect()
}

/// Removes the manifests of the archives with these hashes, and partial ones on which nobody is at work.
/// Best effort: they are a cache, and the next writer tries again.
pub(crate) fn sweep(home: &Home, orphans: &HashSet<String>) {
    for file in std::fs::read_dir(dir(home)).into_iter().flatten().flatten() {
        let path = file.path();
        let is_orphan = match path.extension().and_then(OsStr::to_str) {
            Some("parquet") => {
                let hash = path.file_stem().and_then(OsStr::to_str);
                hash.is_some_and(|hash| orphans.contains(hash))
            }
            Some(PARTIAL) => {
                File::open(&path).is_ok_and(|file| flock::exclusive(&file).unwrap_or(false))
            }
            _ => false,
        };
        if is_orphan {
            let _ = std::fs::remove_file(&path);
        }
    }
}
