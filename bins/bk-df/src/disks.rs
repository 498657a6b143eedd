//! Inspects the file systems: where archives are, what they take, what is free. Never while the
//! catalog is locked.
//!
//! Opens no archive.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bk_schema::record::{Backup, Status};
use bk_store::Home;
use bk_store::archives::mounts::Mounts;
use bk_store::archives::space::Space;
use bk_store::removal::would_free;
use bk_store::storage::{MARKER, Storages};

use crate::flags::PROGRAM;

/// A file system that holds archives, or a directory of archives that cannot be reached.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FileSystem {
    /// Where it is mounted.
    pub(crate) mountpoint: Option<String>,
    /// Its directories with archives.
    pub(crate) directories: Vec<String>,
    /// Its space, `None` if it does not report any; or why it cannot be accessed.
    pub(crate) space: Result<Option<Space>, String>,
}

/// A backup and the state of its archive.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) backup: Backup,
    /// The index of its file system in [`Disks::all`].
    pub(crate) place: usize,
    /// The size of its files, which a removal would free.
    pub(crate) bytes: u64,
    /// Whether its archive exists.
    pub(crate) is_there: bool,
    /// Whether that is unknown.
    pub(crate) is_offline: bool,
    /// Whether it never was here: a location has it.
    pub(crate) is_remote: bool,
}

/// The file systems, as they are found.
pub(crate) struct Disks {
    pub(crate) all: Vec<FileSystem>,
    storages: Storages,
    mounts: Mounts,
    /// Directories that must exist: archives are in them.
    needed: HashSet<PathBuf>,
    by_device: HashMap<u64, usize>,
    by_dir: HashMap<PathBuf, usize>,
}

impl Disks {
    /// Inspects the storage directory and the archive of every backup, in their order.
    pub(crate) fn inspect(
        home: &Home,
        storage: &Path,
        backups: Vec<Backup>,
    ) -> (Self, Vec<Stored>) {
        // One that is at a location alone needs none here.
        let is_here = |it: &&Backup| has_archive(it) && it.remote().is_none();
        let with_archive = backups.iter().filter(is_here);
        let needed = with_archive.map(|it| dir_of(&it.backup_path).to_owned());
        let mut disks = Self {
            storages: home.storages.clone(),
            all: Vec::new(),
            mounts: Mounts::read(),
            needed: needed.collect(),
            by_device: HashMap::new(),
            by_dir: HashMap::new(),
        };
        disks.place(storage);
        let stored = |backup| disks.stored(home, backup);
        let stored = backups.into_iter().map(stored).collect();
        (disks, stored)
    }

    /// The file system of a path, if it is one of those found.
    pub(crate) fn place_of(&self, path: &str) -> Option<usize> {
        let dir = dir_of(path);
        let known = self.by_dir.get(dir).copied();
        known.or_else(|| self.by_device.get(&nearest(dir)?.1).copied())
    }

    fn stored(&mut self, home: &Home, backup: Backup) -> Stored {
        let place = self.place(dir_of(&backup.backup_path));
        let inspected = match &self.all[place].space {
            Ok(_) => inspect(home, &backup),
            // The caller reports why, once for all backups there.
            Err(_) => {
                let found = self.storages.stat(backup.backup_path.as_ref());
                found.map(|_| (0, false)).map_err(drop)
            }
        };
        let (bytes, is_there) = inspected.unwrap_or_default();
        let is_remote = !is_there && backup.remote().is_some();
        Stored {
            backup,
            place,
            bytes,
            is_there,
            is_offline: inspected.is_err() && !is_remote,
            is_remote,
        }
    }

    fn file_system(&self, dir: &Path) -> FileSystem {
        let mountpoint = self.mounts.of(dir).to_string_lossy().into_owned();
        FileSystem {
            mountpoint: Some(mountpoint),
            directories: Vec::new(),
            space: Space::at(dir).map_err(|error| format!("{error:#}")),
        }
    }

    /// The file system of a directory. For one that does not exist and need not, that is where it
    /// would be made.
    fn place(&mut self, dir: &Path) -> usize {
        if let Some(place) = self.by_dir.get(dir) {
            return *place;
        }
        // The mount point of a storage that is not mounted is on another file system.
        let reachable = self.storages.check(&dir.join(MARKER));
        let cannot = |error| format!("cannot access '{}': {error}", dir.display());
        let reachable = reachable.map_err(|it| it.to_string());
        let found = match reachable.and_then(|()| dir.metadata().map_err(cannot)) {
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
                Ok(there) => self.file_system(&there),
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

/// Whether it has a complete archive.
pub(crate) fn has_archive(backup: &Backup) -> bool {
    matches!(backup.status, Status::Completed | Status::Moving)
}

fn dir_of(path: &str) -> &Path {
    let path = Path::new(path);
    path.parent().unwrap_or(path)
}

/// The nearest directory above that exists, and its device.
fn nearest(dir: &Path) -> Option<(PathBuf, u64)> {
    let there = |it: &Path| Some((it.to_owned(), it.metadata().ok()?.dev()));
    dir.ancestors().find_map(there)
}

/// The size, and whether the archive exists; an error if that is unknown.
fn inspect(home: &Home, backup: &Backup) -> Result<(u64, bool), ()> {
    if !has_archive(backup) {
        return match would_free(home, backup) {
            Ok(bytes) => Ok((bytes, bytes > 0)),
            Err(error) => {
                PROGRAM.warn(&format!("warning: cannot access {error:#}"));
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
