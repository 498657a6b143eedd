//! The queries of `storages`: which directories hold archives, each with the id of its marker.
//!
//! Knows no archive but by its path; whether a storage is there, its module tells.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use duckdb::params;

use crate::session::Session;
use crate::storage::{Storage, mark};

/// The place of an archive and its size in bytes.
pub(crate) type Archive = (String, Option<i64>);

impl Session<'_> {
    /// Every storage.
    pub fn storages(&self) -> Result<Vec<Storage>> {
        self.rows("SELECT path, id FROM storages", [], |row| {
            let (dir, id) = (row.get(0)?, row.get(1)?);
            Ok(Storage { dir, id })
        })
    }

    /// Keeps the id of a storage.
    pub fn keep_storage(&self, storage: &Storage) -> Result<()> {
        self.connection.execute(
            "INSERT OR REPLACE INTO storages VALUES (?, ?)",
            params![storage.dir, storage.id],
        )?;
        self.home.storages.add(storage);
        Ok(())
    }

    /// The archives of completed records in directories that are no storages yet, newest first:
    /// those in use since before there were markers, and those of adopted archives.
    pub(crate) fn unmarked(&self) -> Result<Vec<Archive>> {
        let sql = "SELECT backup_path, backup_size FROM backup_records WHERE status = 'completed' \
                   AND parse_dirpath(backup_path, 'forward_slash') NOT IN (SELECT path FROM storages) \
                   ORDER BY id DESC";
        self.rows(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Keeps the ids of storages that were marked since an earlier session, but where another
    /// process was faster.
    ///
    /// # Errors
    /// Those of the queries; a full disk, where the commit of a new key may end the process.
    pub(crate) fn keep_marked(&self, marked: &[Storage]) -> Result<()> {
        self.check_room()?;
        let is_new = |it: &&Storage| !self.home.storages.is_known(Path::new(&it.dir));
        marked
            .iter()
            .filter(is_new)
            .try_for_each(|it| self.keep_storage(it))
    }

    /// The places of the archives that a directory holds by the records, newest first; those that a
    /// location alone has never were in it.
    pub fn archives_in(&self, dir: &Path) -> Result<Vec<String>> {
        let sql = "SELECT backup_path FROM backup_records WHERE status = 'completed' \
                   AND starts_with(backup_path, ?) \
                   AND NOT CASE WHEN json_valid(backup_metadata) THEN json_exists(backup_metadata, '$.remote') \
                   ELSE false END ORDER BY id DESC";
        let paths: Vec<String> = self.rows(sql, [dir.to_string_lossy()], |row| row.get(0))?;
        let is_in = |path: &String| Path::new(path).parent() == Some(dir);
        Ok(paths.into_iter().filter(is_in).collect())
    }
}

/// Marks the directories that hold one of these archives, as far as stat tells; where bk may not
/// write, there is no marker. Looks at storages, so that nobody holds the catalog meanwhile.
pub(crate) fn mark_all(archives: Vec<Archive>) -> Vec<Storage> {
    let mut marked: HashMap<PathBuf, Storage> = HashMap::new();
    let mut unwritable = HashSet::new();
    for (path, size) in archives {
        let Some(dir) = Path::new(&path).parent() else {
            continue;
        };
        if marked.contains_key(dir) || unwritable.contains(dir) || !is_archive(&path, size) {
            continue;
        }
        match mark(&dir.to_string_lossy()) {
            Some(storage) => drop(marked.insert(dir.to_owned(), storage)),
            None => drop(unwritable.insert(dir.to_owned())),
        }
    }
    marked.into_values().collect()
}

fn is_archive(path: &str, size: Option<i64>) -> bool {
    let file = std::fs::metadata(path).ok().filter(|it| it.is_file());
    file.is_some_and(|it| size.is_none_or(|size| size.unsigned_abs() == it.len()))
}
