//! What is on the file systems: where archives are, what they take, what is free. Never while
//! the catalog is held.
//!
//! Opens no archive.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bk_schema::record::{Backup, Status};
use bk_store::archives::mounts::Mounts;
use bk_store::archives::space::Space;
use bk_store::home::Home;
use bk_store::removal::would_free;
use bk_store::storage::{MARKER, Storages};

use crate::flags::PROGRAM;

/// A file system that holds archives, or a directory of archives that cannot be reached.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FileSystem {
    /// Where it is mounted.
    pub(crate) mountpoint: Option<String>,
    /// The directories with archives on it.
    pub(crate) directories: Vec<String>,
    /// What it has, where it tells that, or why it cannot be looked at.
    pub(crate) space: Result<Option<Space>, String>,
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
    /// Whether nobody can tell.
    pub(crate) is_offline: bool,
}

/// The file systems, as they are found.
pub(crate) struct Look {
    pub(crate) all: Vec<FileSystem>,
    storages: Storages,
    mounts: Mounts,
    /// Directories that must be there, as archives are in them.
    needed: HashSet<PathBuf>,
    by_device: HashMap<u64, usize>,
    by_dir: HashMap<PathBuf, usize>,
}

impl Look {
    /// Looks at the storage directory and at every backup, in their order.
    pub(crate) fn at(home: &Home, storage: &Path, backups: Vec<Backup>) -> (Self, Vec<Stored>) {
        let with_archive = backups.iter().filter(|it| has_archive(it));
        let needed = with_archive.map(|it| dir_of(&it.backup_path).to_owned());
        let mut look = Self {
            storages: home.storages.clone(),
            all: Vec::new(),
            mounts: Mounts::read(),
            needed: needed.collect(),
            by_device: HashMap::new(),
            by_dir: HashMap::new(),
        };
        look.place(storage);
        let stored = |backup| look.stored(home, backup);
        let stored = backups.into_iter().map(stored).collect();
        (look, stored)
    }

    /// The file system of a path, where it is one of those that were found.
    pub(crate) fn place_of(&self, path: &str) -> Option<usize> {
        let dir = dir_of(path);
        let known = self.by_dir.get(dir).copied();
        known.or_else(|| self.by_device.get(&nearest(dir)?.1).copied())
    }

    fn stored(&mut self, home: &Home, backup: Backup) -> Stored {
        let place = self.place(dir_of(&backup.backup_path));
        let looked = match &self.all[place].space {
            Ok(_) => look_at(home, &backup),
            // Why it cannot be reached is told of all that is there.
            Err(_) => {
                let found = self.storages.stat(backup.backup_path.as_ref());
                found.map(|_| (0, false)).map_err(drop)
            }
        };
        let (bytes, is_there) = looked.unwrap_or_default();
        Stored {
            backup,
            place,
            bytes,
            is_there,
            is_offline: looked.is_err(),
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
        // On a mount point that shows through is another file system.
        let reached = self.storages.check(&dir.join(MARKER));
        let cannot = |error| format!("cannot look at '{}': {error}", dir.display());
        let looked = reached.map_err(|it| it.to_string());
        let found = match looked.and_then(|()| dir.metadata().map_err(cannot)) {
            Ok(metadata) => Ok((dir.to_owned(), metadata.dev())),
            Err(reason) if self.needed.contains(dir) => Err(reason),
            Err(reason) => nearest(dir).ok_or(reason),
        };
        let new = self.all.len();
        let (place, found) = match found {
            Ok((there, device)) => (*self.by_device.entry(device).or_insert(new), Ok(there)),
            Err(reason) => (new, Err(reason)),
        };
        if place == new {
            self.all.push(match found {
                Ok(there) => self.reached(&there),
                Err(reason) => FileSystem {
                    mountpoint: None,
                    directories: Vec::new(),
                    space: Err(reason),
                },
            });
        }
        let text = dir.to_string_lossy().into_owned();
        self.all[place].directories.push(text);
        self.by_dir.insert(dir.to_owned(), place);
        place
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

/// The bytes, and whether the archive is there; an error where that cannot be told.
fn look_at(home: &Home, backup: &Backup) -> Result<(u64, bool), ()> {
    if !has_archive(backup) {
        return match would_free(home, backup) {
            Ok(bytes) => Ok((bytes, bytes > 0)),
            Err(error) => {
                PROGRAM.warn(&format!("warning: cannot look at {error:#}"));
                Err(())
            }
        };
    }
    match home.storages.stat(backup.backup_path.as_ref()) {
        Ok(Some(metadata)) if metadata.is_file() => Ok((metadata.len(), true)),
        Ok(_) => Ok((0, false)),
        Err(unreachable) => {
            home.storages.tell_unreachable(&unreachable);
            Err(())
        }
    }
}
