//! What is bk's own on the file system: a backup leaves it out.
//!
//! Follows paths to inodes, as a source may lead there by another path. Reads no content.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bk_schema::moving::Move;
use bk_schema::record::{Backup, Status};

use crate::archives::partial::partial_path;
use crate::home::Home;
use crate::storage::MARKER;

/// A file or directory by its device and inode.
pub type Inode = (u64, u64);

/// The home and the storage directory, as far as they are there.
#[must_use]
pub fn dirs(home: &Home, storage: &Path) -> HashSet<Inode> {
    let own = [&home.dir, storage].map(|dir| dir.metadata().ok());
    own.iter().flatten().map(inode).collect()
}

/// The names of all archives, finished or not, and of storage markers, by the inode of their
/// directory.
#[must_use]
pub fn archive_names(backups: &[Backup]) -> HashMap<Inode, HashSet<OsString>> {
    let mut by_dir: HashMap<PathBuf, HashSet<OsString>> = HashMap::new();
    let has_archive = |backup: &&Backup| backup.status != Status::Failed;
    for backup in backups.iter().filter(has_archive) {
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

/// The inode of what is there.
#[must_use]
pub fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}
