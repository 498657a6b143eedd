//! The queries of `storages`: which directories hold archives, each with the id of its marker.
//!
//! Knows no archive but by its path; whether a storage is there, its module tells.

use std::path::Path;

use anyhow::Result;
use duckdb::params;

use crate::session::Session;
use crate::storage::{Storage, mark};

impl Session<'_> {
    /// Every storage.
    ///
    /// # Errors
    /// Those of the query.
    pub(crate) fn storages(&self) -> Result<Vec<Storage>> {
        let mut statement = self.connection.prepare("SELECT path, id FROM storages")?;
        let storages = statement.query_map([], |row| {
            Ok(Storage {
                dir: row.get(0)?,
                id: row.get(1)?,
            })
        })?;
        Ok(storages.collect::<Result<_, _>>()?)
    }

    /// Keeps the id of a storage.
    ///
    /// # Errors
    /// Those of the query.
    pub fn keep_storage(&self, storage: &Storage) -> Result<()> {
        self.connection.execute(
            "INSERT OR REPLACE INTO storages VALUES (?, ?)",
            params![storage.dir, storage.id],
        )?;
        self.home.storages.add(storage);
        Ok(())
    }

    /// Marks the directories that hold an archive of a record and are no storages yet: those in
    /// use since before there were markers, and those of adopted archives. Where bk may not
    /// write, there is no marker.
    ///
    /// # Errors
    /// Those of the queries.
    pub(crate) fn mark_storages(&self) -> Result<()> {
        let sql = "SELECT DISTINCT parse_dirpath(backup_path, 'forward_slash') FROM backup_records \
                   WHERE status = 'completed'";
        let mut statement = self.connection.prepare(sql)?;
        let dirs = statement.query_map([], |row| row.get(0))?;
        let mut dirs: Vec<String> = dirs.collect::<Result<_, _>>()?;
        dirs.retain(|dir| !self.home.storages.is_known(Path::new(dir)));
        // On a full disk this can wait; the commit of a new key there may end the process.
        if dirs.is_empty() || self.check_room().is_err() {
            return Ok(());
        }
        for dir in dirs {
            if self.holds_an_archive(&dir)?
                && let Some(storage) = mark(&dir)
            {
                self.keep_storage(&storage)?;
            }
        }
        Ok(())
    }

    /// The places of the archives that a directory holds by the records, newest first.
    ///
    /// # Errors
    /// Those of the query.
    pub fn archives_in(&self, dir: &Path) -> Result<Vec<String>> {
        let sql = "SELECT backup_path FROM backup_records WHERE status = 'completed' \
                   AND starts_with(backup_path, ?) ORDER BY id DESC";
        let mut statement = self.connection.prepare(sql)?;
        let paths = statement.query_map([dir.to_string_lossy()], |row| row.get(0))?;
        let paths: Vec<String> = paths.collect::<Result<_, _>>()?;
        let is_in = |path: &String| Path::new(path).parent() == Some(dir);
        Ok(paths.into_iter().filter(is_in).collect())
    }

    /// Whether one of its files is that of a record, as far as stat tells.
    fn holds_an_archive(&self, dir: &str) -> Result<bool> {
        let sql = "SELECT backup_path, backup_size FROM backup_records WHERE status = 'completed' \
                   AND parse_dirpath(backup_path, 'forward_slash') = ? ORDER BY id DESC";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([dir])?;
        while let Some(row) = rows.next()? {
            let (path, size): (String, Option<i64>) = (row.get(0)?, row.get(1)?);
            let file = std::fs::metadata(path).ok().filter(|it| it.is_file());
            if file.is_some_and(|it| size.is_none_or(|size| size.unsigned_abs() == it.len())) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
