//! What the walk leaves out: by name, size or what a directory holds, and what is bk's own.
//!
//! Reads the content of no file but CACHEDIR.TAG. Knows no record, but what it says of excludes.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use bk_schema::excludes::Excludes;
use bk_schema::globs::Globs;

use crate::write::place::{Listing, Lstat, has_file};

const CACHE_TAG: &str = "CACHEDIR.TAG";
/// The signature in it (<https://bford.info/cachedir/>).
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What to leave out.
#[derive(Debug, Default)]
pub struct Filter {
    /// Globs of names.
    globs: Globs,
    /// Files of more bytes.
    larger: Option<u64>,
    /// What is in directories with a CACHEDIR.TAG, but that.
    caches: bool,
    /// What is in directories with such an entry, but that.
    markers: Vec<Marker>,
    /// Do not enter other file systems.
    pub(crate) one_file_system: bool,
    /// Directories of bk itself, by device and inode.
    pub own: HashSet<(u64, u64)>,
    /// Archives of bk in other directories, by device and inode of the directory.
    pub own_files: HashMap<(u64, u64), HashSet<OsString>>,
    /// Names of all sources: a source inside another one is skipped there, as it is walked by itself.
    pub other_sources: HashSet<PathBuf>,
}

/// A name that marks the directory that holds it.
#[derive(Debug)]
struct Marker {
    name: String,
    has_matched: AtomicBool,
}

impl Filter {
    /// What is to be left out, of which nothing has matched yet.
    ///
    /// # Errors
    /// A malformed glob.
    pub fn new(excludes: &Excludes) -> Result<Self> {
        let texts = excludes.globs.iter().map(String::as_str);
        let markers = excludes.if_present.iter().map(|name| Marker {
            name: name.clone(),
            has_matched: AtomicBool::new(false),
        });
        Ok(Self {
            globs: match excludes.ignores_case {
                true => Globs::ignoring_case(texts),
                false => Globs::new(texts),
            }?,
            larger: excludes.larger,
            caches: excludes.caches,
            markers: markers.collect(),
            one_file_system: excludes.one_file_system,
            ..Self::default()
        })
    }

    /// The globs that have not matched anything, as given.
    pub fn unmatched_globs(&self) -> impl Iterator<Item = &str> {
        self.globs.unmatched()
    }

    /// The names of marking entries that no directory had.
    pub fn unmatched_markers(&self) -> impl Iterator<Item = &str> {
        let is_unmatched = |it: &&Marker| !it.has_matched.load(Ordering::Relaxed);
        let unmatched = self.markers.iter().filter(is_unmatched);
        unmatched.map(|it| it.name.as_str())
    }

    /// Whether to leave out a path below a source. A source itself was asked for.
    pub(crate) fn leaves_out(&self, name: &[u8], status: &Lstat) -> bool {
        // A single one is not within another.
        let is_source = self.other_sources.len() > 1
            && self.other_sources.contains(Path::new(OsStr::from_bytes(
                name.strip_prefix(b"./").unwrap_or(name),
            )));
        let is_larger = || status.is_file() && self.larger.is_some_and(|max| status.size() > max);
        is_source || self.globs.matches(name, status.is_dir()) || is_larger()
    }

    /// Keeps of the names in a directory only those that mark it, if any does. They stay, as with tar and
    /// restic: what is restored is marked again.
    pub(crate) fn keep_markers(&self, dir: &Arc<File>, names: &mut Listing) -> bool {
        let is_cache =
            self.caches && names.has(CACHE_TAG) && has_file(dir, CACHE_TAG, CACHE_SIGNATURE);
        let mut kept = Vec::from_iter(is_cache.then_some(CACHE_TAG));
        for marker in self.markers.iter().filter(|it| names.has(&it.name)) {
            marker.has_matched.store(true, Ordering::Relaxed);
            kept.push(&marker.name);
        }
        if !kept.is_empty() {
            names.retain(|name| kept.iter().any(|kept| kept.as_bytes() == name));
        }
        !kept.is_empty()
    }
}
