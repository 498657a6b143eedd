//! What the newest backup of the same sources no longer has.
//!
//! Knows no manifest.

use std::collections::{HashMap, HashSet};

use bk_schema::record::Backup;

/// The newest backup of each choice of sources, and the names that it was found to have.
pub(crate) struct Newest<'a> {
    of_sources: HashMap<String, &'a Backup>,
    has: HashSet<(i64, Vec<u8>)>,
}

impl<'a> Newest<'a> {
    pub(crate) fn of(backups: &'a [Backup]) -> Self {
        let mut of_sources: HashMap<String, &Backup> = HashMap::new();
        for backup in backups {
            let newest = of_sources.entry(backup.sources_key()).or_insert(backup);
            if (newest.created_at, newest.id) < (backup.created_at, backup.id) {
                *newest = backup;
            }
        }
        Self {
            of_sources,
            has: HashSet::new(),
        }
    }

    /// They, one for each choice of sources.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'a Backup> {
        self.of_sources.values().copied()
    }

    /// Tells that a backup has a name.
    pub(crate) fn add(&mut self, backup: &Backup, path: &[u8]) {
        if self
            .of_sources
            .get(&backup.sources_key())
            .is_some_and(|it| it.id == backup.id)
        {
            self.has.insert((backup.id, path.to_owned()));
        }
    }

    /// Whether the newest backup of the same sources lacks a name.
    pub(crate) fn lacks(&self, backup: &Backup, path: &[u8]) -> bool {
        let newest = self.of_sources.get(&backup.sources_key());
        newest.is_some_and(|it| !self.has.contains(&(it.id, path.to_owned())))
    }
}
