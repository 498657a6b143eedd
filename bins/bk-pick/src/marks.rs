//! What is marked: backups as a whole, and files in others.
//!
//! Knows backups and files by their indices alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::Name;

/// What is marked of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Nothing,
    Whole,
    Files,
}

/// The marks. Of a backup either all or some files are marked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    backups: BTreeSet<usize>,
    /// By backup and entry.
    files: BTreeMap<(usize, usize), Name>,
}

impl Marks {
    pub(crate) fn of(&self, backup: usize) -> Mark {
        if self.backups.contains(&backup) {
            Mark::Whole
        } else if self.files_of(backup).next().is_some() {
            Mark::Files
        } else {
            Mark::Nothing
        }
    }

    pub(crate) fn has_file(&self, backup: usize, entry: usize) -> bool {
        self.files.contains_key(&(backup, entry))
    }

    pub(crate) fn files_of(&self, backup: usize) -> impl Iterator<Item = (usize, &Name)> {
        let files = self.files.range((backup, 0)..=(backup, usize::MAX));
        files.map(|((_, entry), name)| (*entry, name))
    }

    /// The marked backups, also those of which files are marked.
    pub(crate) fn backups(&self) -> BTreeSet<usize> {
        let with_files = self.files.keys().map(|(backup, _)| *backup);
        self.backups.iter().copied().chain(with_files).collect()
    }

    pub(crate) fn backup_count(&self) -> usize {
        self.backups.len()
    }

    pub(crate) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Marks a backup; one of which anything is marked loses that.
    pub(crate) fn toggle(&mut self, backup: usize) {
        match self.of(backup) {
            Mark::Nothing => {
                self.backups.insert(backup);
            }
            Mark::Whole => {
                self.backups.remove(&backup);
            }
            Mark::Files => self.files.retain(|(of, _), _| *of != backup),
        }
    }

    /// Marks a file, and no longer its backup as a whole; a marked one loses its mark.
    pub(crate) fn toggle_file(&mut self, backup: usize, entry: usize, name: &Name) {
        if self.files.remove(&(backup, entry)).is_none() {
            self.backups.remove(&backup);
            self.files.insert((backup, entry), name.clone());
        }
    }
}
