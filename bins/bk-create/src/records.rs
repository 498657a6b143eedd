//! What the catalog says of other backups, as of the last time it was read.
//!
//! Opens it once, however many backups this process makes. Knows no source.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use bk_schema::moving::Move;
use bk_schema::record::{Backup, Status};
use bk_store::archives::partial::partial_path;
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::storage::MARKER;
use serde_json::Value;

/// A file or directory by its device and inode.
pub(crate) type Inode = (u64, u64);

/// The records, and the storage directory that is set.
pub(crate) struct Records {
    pub(crate) storage_dir: PathBuf,
    backups: Vec<Backup>,
}

impl Records {
    /// There are none where there is no catalog yet.
    pub(crate) fn read(home: &Home) -> Result<Self> {
        if !home.has_catalog() {
            return Ok(Self {
                storage_dir: home.archives(),
                backups: Vec::new(),
            });
        }
        catalog::read(home, |session| {
            Ok(Self {
                storage_dir: session.storage_dir()?,
                backups: session.backups()?.into_iter().flatten().collect(),
            })
        })
    }

    /// Adds a backup that this process has made.
    pub(crate) fn add(&mut self, backup: &Backup) {
        self.backups.push(backup.clone());
    }

    /// The names of all records and the paths of their archives.
    pub(crate) fn taken(&self) -> HashSet<String> {
        let both = |it: &Backup| [it.backup_name.clone(), it.backup_path.clone()];
        self.backups.iter().flat_map(both).collect()
    }

    /// The same, without what a backup of that name would replace, or may.
    pub(crate) fn taken_for_good(&self) -> HashSet<String> {
        let stays = |it: &&Backup| !matches!(it.status, Status::Failed | Status::Creating);
        let both = |it: &Backup| [it.backup_name.clone(), it.backup_path.clone()];
        self.backups.iter().filter(stays).flat_map(both).collect()
    }

    /// The completed backups of these sources, newest first.
    pub(crate) fn of_sources(&self, sources: &Value) -> impl Iterator<Item = &Backup> {
        let completed = self.completed();
        completed.filter(move |it| it.backup_metadata.get("sources") == Some(sources))
    }

    /// The paths of the archives in a directory, newest first.
    pub(crate) fn archives_in(&self, dir: &Path) -> Vec<String> {
        let paths = self.completed().map(|it| &it.backup_path);
        let is_in = |path: &&String| Path::new(path).parent() == Some(dir);
        paths.filter(is_in).cloned().collect()
    }

    fn completed(&self) -> impl Iterator<Item = &Backup> {
        let newest_first = self.backups.iter().rev();
        newest_first.filter(|it| it.status == Status::Completed)
    }

    /// The names of all archives, finished or not, and of storage markers, by the inode of their
    /// directory: another path to the same directory leads to them, too.
    pub(crate) fn archive_names(&self) -> HashMap<Inode, HashSet<OsString>> {
        let mut by_dir: HashMap<PathBuf, HashSet<OsString>> = HashMap::new();
        let has_archive = |backup: &&Backup| backup.status != Status::Failed;
        for backup in self.backups.iter().filter(has_archive) {
            let other = Move::of(backup).map(|(Move::To(path) | Move::From(path))| path);
            for path in [backup.backup_path.clone()].into_iter().chain(other) {
                let archive = PathBuf::from(path);
                let (Some(dir), Some(name)) = (archive.parent(), archive.file_name()) else {
                    continue;
                };
                let partial = partial_path(Path::new(name)).into_os_string();
                let names = by_dir.entry(dir.to_owned()).or_default();
                names.extend([name.to_owned(), partial, MARKER.into()]);
            }
        }
        let mut by_inode: HashMap<_, HashSet<OsString>> = HashMap::new();
        for (dir, names) in by_dir {
            if let Ok(metadata) = dir.metadata() {
                by_inode.entry(inode(&metadata)).or_default().extend(names);
            }
        }
        by_inode
    }
}

pub(crate) fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}
