//! Decides what to do with each archive: a pure function of the archives and the records.
//!
//! Knows no catalog, no file and no clock.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::Path;

use bk_schema::record::{Backup, Status, numbered};
use bk_store::rows::BadRow;

use crate::archive::Archive;

/// What to do with one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Add a record. `replaced` is the id and name of a failed attempt at the same path.
    Adopt {
        record: Backup,
        replaced: Option<(i64, String)>,
    },
    /// Complete the record of an interrupted attempt.
    Complete(Backup),
    /// Nothing: this record has it; its id is 0 where it is new itself.
    AlreadyKnown(Backup),
    /// Nothing: another program is at work on the archive of this record.
    Busy(Backup),
}

/// The records, by what an archive may have in common with them.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_name: HashMap<String, Backup>,
    name_by_path: HashMap<String, String>,
    names_by_hash: HashMap<String, Vec<String>>,
    /// Names of rows that cannot be read.
    taken: HashSet<String>,
}

impl Index {
    pub(crate) fn new(rows: Vec<Result<Backup, BadRow>>) -> Self {
        let mut index = Self::default();
        for row in rows {
            match row {
                Ok(backup) => index.add(backup),
                Err(bad) => {
                    index.taken.insert(bad.name);
                }
            }
        }
        index
    }

    fn add(&mut self, backup: Backup) {
        let name = backup.backup_name.clone();
        let path = backup.backup_path.clone();
        // A failed attempt at the path of another record has no archive there.
        if backup.status != Status::Failed || !self.name_by_path.contains_key(&path) {
            self.name_by_path.insert(path, name.clone());
        }
        if let Some(hash) = &backup.backup_hash {
            let same = self.names_by_hash.entry(hash.clone()).or_default();
            same.push(name.clone());
        }
        self.by_name.insert(name, backup);
    }

    /// Decides on all, oldest first, so that the ids of a catalog that is built again follow the
    /// order of creation.
    pub(crate) fn plan(mut self, mut archives: Vec<Archive>) -> Vec<(String, Decision)> {
        archives.sort_by(|a, b| {
            let key = |it: &Archive| (it.record.created_at, it.record.backup_path.clone());
            key(a).cmp(&key(b))
        });
        let decide = |archive: Archive| {
            let path = archive.record.backup_path.clone();
            let decision = self.decide(archive);
            if let Decision::Adopt { record, replaced } = &decision {
                if let Some(replaced) = replaced {
                    self.by_name.remove(&replaced.1);
                }
                self.add(record.clone());
            } else if let Decision::Complete(record) = &decision {
                self.add(record.clone());
            }
            (path, decision)
        };
        archives.into_iter().map(decide).collect()
    }

    /// The record of the same archive, whatever its name is by now. Two records of one file would
    /// be removed with each other. An archive of another program must have the same file name too.
    fn with_content(&self, record: &Backup, is_own: bool) -> Option<&Backup> {
        let names = self.names_by_hash.get(record.backup_hash.as_ref()?)?;
        let mut same = names.iter().filter_map(|name| self.by_name.get(name));
        same.find(|it| is_own || file_name(it) == file_name(record))
    }

    fn decide(&self, archive: Archive) -> Decision {
        let record = archive.record;
        let at_path = self.name_by_path.get(&record.backup_path);
        let at_path = at_path.and_then(|name| self.by_name.get(name));
        let replaced = match at_path {
            None => None,
            Some(it) if it.status == Status::Completed => {
                return Decision::AlreadyKnown(it.clone());
            }
            Some(it) if it.status == Status::Failed => {
                let facts = |it: &Backup| (it.backup_name.clone(), it.created_at);
                if archive.is_own && facts(it) == facts(&record) {
                    return Decision::Complete(completed(it, &record));
                }
                Some(it)
            }
            Some(it) => return Decision::Busy(it.clone()),
        };
        if let Some(same) = self.with_content(&record, archive.is_own) {
            return Decision::AlreadyKnown(same.clone());
        }
        let mut number = 1;
        loop {
            let name = numbered(&record.backup_name, number);
            let same = self.by_name.get(&name);
            if let Some(same) = same.filter(|it| it.backup_hash == record.backup_hash) {
                return Decision::AlreadyKnown(same.clone());
            }
            let is_replaced = replaced.is_some_and(|it| it.backup_name == name);
            if is_replaced || (same.is_none() && !self.taken.contains(&name)) {
                let record = Backup {
                    backup_name: name,
                    ..record
                };
                let replaced = replaced.map(|it| (it.id, it.backup_name.clone()));
                return Decision::Adopt { record, replaced };
            }
            number += 1;
        }
    }
}

fn file_name(backup: &Backup) -> Option<&OsStr> {
    Path::new(&backup.backup_path).file_name()
}

/// The attempt's record with the facts of the archive. The rest stays: it may have been changed.
fn completed(attempt: &Backup, archive: &Backup) -> Backup {
    let mut record = attempt.clone();
    record.status = Status::Completed;
    record.backup_path.clone_from(&archive.backup_path);
    record.backup_size = archive.backup_size;
    record.file_count = archive.file_count;
    record.backup_hash.clone_from(&archive.backup_hash);
    record.backup_metadata.shift_remove("failure");
    for key in ["content_bytes", "damaged", "archive_notes"] {
        if let Some(value) = archive.backup_metadata.get(key) {
            record.backup_metadata.insert(key.into(), value.clone());
        }
    }
    record
}
