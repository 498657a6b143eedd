//! What is on the file systems: where archives are, what they take, what is free. Never while
//! the catalog is held.
//!
//! Opens no archive.

use std::collections::{HashMap, HashSet};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bk_schema::mounts::Mounts;
use bk_schema::record::{Backup, Status};
use bk_schema::removal::would_free;
use bk_schema::space::Space;

use crate::flags::PROGRAM;

/// A file system that holds archives, or a directory of archives that cannot be reached.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FileSystem {
    /// Where it is mounted.
    pub(crate) mountpoint: Option<String>,
    /// The directories with archives on it.
    pub(crate) directories: Vec<String>,
    /// What it has, or why that cannot be told.
    pub(crate) space: Result<Space, String>,
}

/// A backup and what there is of it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) backup: Backup,
    /// Which file system, by its place among all.
    pub(crate) place: usize,
    /// What its files take: what a removal would free.
    pub(crate) bytes: u64,
    /// Whether its archive is there.
    pub(crate) is_there: bool,
}

/// The file systems, as they are found.
pub(crate) struct Look {
    pub(crate) all: Vec<FileSystem>,
    mounts: Mounts,
    /// Directories that must be there, as archives are in them.
    needed: HashSet<PathBuf>,
    by_device: HashMap<u64, usize>,
    by_dir: HashMap<PathBuf, usize>,
}

impl Look {
    /// Looks at the storage directory and at every backup, in their order.
    pub(crate) fn at(storage: &Path, backups: Vec<Backup>) -> (Self, Vec<Stored>) {
        let with_archive = backups.iter().filter(|it| has_archive(it));
        let needed = with_archive.map(|it| dir_of(&it.backup_path).to_owned());
        let mut look = Self {
            all: Vec::new(),
            mounts: Mounts::read(),
            needed: needed.collect(),
            by_device: HashMap::new(),
            by_dir: HashMap::new(),
        };
        look.place(storage);
        let stored = |backup| look.stored(backup);
        let stored = backups.into_iter().map(stored).collect();
        (look, stored)
    }

    /// The file system of a path, where it is one of those that were found.
    pub(crate) fn place_of(&self, path: &str) -> Option<usize> {
        let dir = dir_of(path);
        let known = self.by_dir.get(dir).copied();
        known.or_else(|| self.by_device.get(&nearest(dir)?.1).copied())
    }

    fn stored(&mut self, backup: Backup) -> Stored {
        let place = self.place(dir_of(&backup.backup_path));
        let (bytes, is_there) = match &self.all[place].space {
            Ok(_) => look_at(&backup),
            Err(_) => (0, false),
        };
        Stored {
            backup,
            place,
            bytes,
            is_there,
        }
    }

    fn reached(&self, dir: &Path) -> FileSystem {
        let mountpoint = self.mounts.of(dir).to_string_lossy().into_owned();
        FileSystem {
            mountpoint: Some(mountpoint),
            directories: Vec::new(),
            space: Space::at(dir).map_err(|error| format!("{error:#}")),
        }
    }

    /// One that is not there, and need not be, is where it would be made.
    fn place(&mut self, dir: &Path) -> usize {
        if let Some(place) = self.by_dir.get(dir) {
            return *place;
        }
        let found = match dir.metadata() {
            Ok(metadata) => Ok((dir.to_owned(), metadata.dev())),
            Err(error) if self.needed.contains(dir) => Err(error),
            Err(error) => nearest(dir).ok_or(error),
        };
        let new = self.all.len();
        let (place, found) = match found {
            Ok((there, device)) => (*self.by_device.entry(device).or_insert(new), Ok(there)),
            Err(error) => (new, Err(error)),
        };
        if place == new {
            self.all.push(match found {
                Ok(there) => self.reached(&there),
                Err(error) => unreached(dir, &error),
            });
        }
        let text = dir.to_string_lossy().into_owned();
        self.all[place].directories.push(text);
        self.by_dir.insert(dir.to_owned(), place);
        place
    }
}

fn unreached(dir: &Path, error: &Error) -> FileSystem {
    FileSystem {
        mountpoint: None,
        directories: Vec::new(),
        space: Err(format!("cannot look at '{}': {error}", dir.display())),
    }
}

/// Whether a whole archive belongs to it.
pub(crate) fn has_archive(backup: &Backup) -> bool {
    matches!(backup.status, Status::Completed | Status::Moving)
}

fn dir_of(path: &str) -> &Path {
    let path = Path::new(path);
    path.parent().unwrap_or(path)
}

/// The nearest directory that is there, and its device.
fn nearest(dir: &Path) -> Option<(PathBuf, u64)> {
    let there = |it: &Path| Some((it.to_owned(), it.metadata().ok()?.dev()));
    dir.ancestors().find_map(there)
}

/// The bytes, and whether the archive is there. A place that cannot be looked at counts as
/// missing.
fn look_at(backup: &Backup) -> (u64, bool) {
    let path = &backup.backup_path;
    let error = if has_archive(backup) {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => return (metadata.len(), true),
            Ok(_) => return (0, false),
            Err(error) => {
                let is_gone =
                    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
                (!is_gone).then(|| format!("cannot look at '{path}': {error}"))
            }
        }
    } else {
        match would_free(backup) {
            Ok(bytes) => return (bytes, bytes > 0),
            Err(error) => Some(format!("cannot look at {error:#}")),
        }
    };
    if let Some(error) = error {
        PROGRAM.warn(&format!("warning: {error}"));
    }
    (0, false)
}
