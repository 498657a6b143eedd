//! Decides what is recorded of what a location holds: a pure function of that, of the records and of the names in
//! the storage directory.
//!
//! Knows no catalog, no location and no file.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use bk_offsite::sidecars::{Held, ending};
use bk_schema::copy::BackupCopy;
use bk_schema::host;
use bk_schema::metadata::{REMOTE, of_archive};
use bk_schema::moving::Move;
use bk_schema::record::{Backup, Status, check_new_name, numbered};
use bk_store::rows::BadRow;

/// What to do with one record of a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Add this record, whose id is 0, and its copy.
    Adopt(Backup),
    /// This record has the archive: add its copy.
    AddCopy(Backup),
    /// Nothing: the catalog has both.
    AlreadyKnown,
}

/// The storage directory, and the names of the files that are in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Storage {
    pub(crate) dir: PathBuf,
    pub(crate) present: HashSet<PathBuf>,
}

/// The records, by what a record of the location may have in common with them.
pub(crate) struct Index<'a> {
    location: &'a str,
    storage: &'a Storage,
    by_hash: HashMap<String, Backup>,
    names: HashSet<String>,
    paths: HashSet<PathBuf>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(
        rows: Vec<Result<Backup, BadRow>>,
        storage: &'a Storage,
        location: &'a str,
    ) -> Self {
        let mut index = Self {
            location,
            storage,
            by_hash: HashMap::new(),
            names: HashSet::new(),
            paths: HashSet::new(),
        };
        for row in rows {
            match row {
                Ok(backup) => index.add(backup),
                Err(bad) => _ = index.names.insert(bad.name),
            }
        }
        index
    }

    fn add(&mut self, backup: Backup) {
        self.names.insert(backup.backup_name.clone());
        self.paths.insert(backup.backup_path.clone().into());
        if let Some(Move::To(other) | Move::From(other)) = Move::of(&backup) {
            self.paths.insert(other.into());
        }
        if let Some(hash) = backup.backup_hash.clone() {
            self.by_hash.insert(hash, backup);
        }
    }

    /// Each decision counts for those that follow.
    pub(crate) fn decide(&mut self, held: &Held) -> Decision {
        let hash = held.backup.backup_hash.as_deref().unwrap_or_default();
        if let Some(same) = self.by_hash.get(hash) {
            // What was found bad stays so until it is copied anew, whatever lies beside it.
            let is_known = |it: &BackupCopy| {
                it.is_complete() || it.copied_at.is_some() && it.object_key == held.copy.key
            };
            let mut copies = same.copies.iter();
            if copies.any(|it| it.location == self.location && is_known(it)) {
                return Decision::AlreadyKnown;
            }
            let mut backup = same.clone();
            let copy = held.known_at(self.location, backup.id, backup.created_at);
            backup.copies.retain(|it| it.location != self.location);
            backup.copies.push(copy);
            self.add(backup.clone());
            return Decision::AddCopy(backup);
        }
        let record = self.record(held);
        self.add(record.clone());
        Decision::Adopt(record)
    }

    /// Under a name and a path that are free.
    fn record(&self, held: &Held) -> Backup {
        let backup = &held.backup;
        // One that stands for the newest of a job would still do that with a number.
        let own = match check_new_name(&backup.backup_name) {
            Ok(()) => backup.backup_name.clone(),
            Err(_) => backup.backup_name.replace(':', "_"),
        };
        let mut names = (1..).map(|number| numbered(&own, number));
        let is_free = |name: &String| !self.names.contains(name) && check_new_name(name).is_ok();
        let name = names.find(is_free);
        let name = name.unwrap_or_default();
        let mut paths = (1..).map(|number| self.path(&numbered(&name, number), ending(backup)));
        let path = paths.find(|it| !self.is_taken(it));
        let path = path.unwrap_or_default().to_string_lossy().into_owned();
        let mut metadata = of_archive(backup.backup_metadata.clone());
        // By its present name: what it had before, the lost catalog knew.
        metadata.insert(host::KEY.into(), held.host.clone().into());
        metadata.insert(REMOTE.into(), self.location.into());
        Backup {
            id: 0,
            backup_name: name,
            backup_path: path,
            status: Status::Completed,
            backup_metadata: metadata,
            copies: vec![held.known_at(self.location, 0, backup.created_at)],
            ..backup.clone()
        }
    }

    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.storage.dir.join(format!("{name}{ending}"))
    }

    fn is_taken(&self, path: &Path) -> bool {
        self.paths.contains(path) || self.storage.present.contains(path)
    }
}
