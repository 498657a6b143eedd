//! What the catalog says of other backups, as of the last time it was read.
//!
//! Opens it once, however many backups this process makes. Knows no source.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use bk_schema::record::{Backup, Status};
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::trust::host_of_machine;
use serde_json::Value;

/// The records, and the storage directory that is set.
pub(crate) struct Records {
    pub(crate) storage_dir: PathBuf,
    pub(crate) backups: Vec<Backup>,
    /// The host of this home.
    pub(crate) host: String,
}

impl Records {
    /// There are none where there is no catalog yet.
    pub(crate) fn read(home: &Home) -> Result<Self> {
        if !home.has_catalog() {
            return Ok(Self {
                storage_dir: home.archives(),
                backups: Vec::new(),
                host: home.host.clone().unwrap_or_else(host_of_machine),
            });
        }
        catalog::read(home, |session| {
            Ok(Self {
                storage_dir: session.storage_dir()?,
                backups: session.backups()?.into_iter().flatten().collect(),
                host: session.host()?.name,
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

    /// The paths of the archives in a directory, newest first; those that a location alone has never were
    /// in it.
    pub(crate) fn archives_in(&self, dir: &Path) -> Vec<String> {
        let here = self.completed().filter(|it| it.remote().is_none());
        let paths = here.map(|it| &it.backup_path);
        let is_in = |path: &&String| Path::new(path).parent() == Some(dir);
        paths.filter(is_in).cloned().collect()
    }

    /// All of them, newest first.
    pub(crate) fn completed(&self) -> impl Iterator<Item = &Backup> {
        let newest_first = self.backups.iter().rev();
        newest_first.filter(|it| it.status == Status::Completed)
    }
}
