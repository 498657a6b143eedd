//! What the newest backup of the same sources no longer has.
//!
//! Knows no manifest.

use std::collections::{HashMap, HashSet};

use bk_schema::host::Host;
use bk_schema::record::Backup;

/// For each backup the newest of the same sources, by their ids, and the names that each newest has.
#[derive(Default)]
pub(crate) struct Newest {
    of: HashMap<i64, i64>,
    has: HashMap<i64, HashSet<Vec<u8>>>,
}

impl Newest {
    /// Finds the newest for each of the chosen ones. One whose sources are not known has none.
    pub(crate) fn of(chosen: &[Backup], all: &[Backup], here: &Host) -> Self {
        let mut newest: HashMap<String, &Backup> = HashMap::new();
        for backup in all {
            let Some(origin) = here.origin(backup) else {
                continue;
            };
            let one = newest.entry(origin).or_insert(backup);
            if (one.created_at, one.id) < (backup.created_at, backup.id) {
                *one = backup;
            }
        }
        let ids = chosen.iter().filter_map(|it| {
            let newest = newest.get(&here.origin(it)?)?;
            Some((it.id, newest.id))
        });
        let of: HashMap<_, _> = ids.collect();
        let has = of.values().map(|id| (*id, HashSet::new())).collect();
        Self { of, has }
    }

    /// Whether it is the newest of any.
    pub(crate) fn is_one(&self, backup: &Backup) -> bool {
        self.has.contains_key(&backup.id)
    }

    /// Keeps only those that were looked through; of the others it cannot be told what is gone.
    pub(crate) fn retain(&mut self, looked_through: &HashSet<i64>) {
        self.has.retain(|id, _| looked_through.contains(id));
        self.of.retain(|_, newest| self.has.contains_key(newest));
    }

    /// Tells that a newest backup has a name.
    pub(crate) fn add(&mut self, backup: &Backup, path: Vec<u8>) {
        if let Some(names) = self.has.get_mut(&backup.id) {
            names.insert(path);
        }
    }

    /// Whether the newest backup of the same sources lacks a name; not where there is none.
    pub(crate) fn lacks(&self, backup: &Backup, path: &[u8]) -> bool {
        let newest = self.of.get(&backup.id);
        let names = newest.and_then(|id| self.has.get(id));
        names.is_some_and(|names| !names.contains(path))
    }
}
