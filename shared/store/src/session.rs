//! A session: the catalog open, one transaction, closed.
//!
//! Its queries stand in the modules beside this one; these files and `rows` are the only ones that
//! know DuckDB. Takes no lock of its own and knows no archive: that is for who opens it.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bk_schema::clock;
use bk_schema::lines::Identity;
use bk_schema::migrations::NEWEST;
use duckdb::{Params, Row};
use jiff::Timestamp;

use crate::archives::durable::dir_of;
use crate::engine::Attached;
use crate::home::Home;
use crate::lock::{Access, Backoff};
use crate::working_copy::{self, WorkingCopy};

/// Between the items of a list that is one parameter: no name holds it.
const SEPARATOR: &str = "\n";
/// What an id is in, where the parameter is an [`id_list`]; of an empty one, nothing.
pub(crate) const IDS: &str = "(SELECT TRY_CAST(unnest(string_split(?, chr(10))) AS BIGINT))";
/// What a name is in, where the parameter is a list of them.
pub(crate) const NAMES: &str = "(SELECT unnest(string_split(?, chr(10))))";

/// In DuckDB's words: why a catalog does not open that is not damaged.
const OUTSIDE: [&str; 8] = [
    "No space left",
    "Disk quota exceeded",
    "Permission denied",
    "Operation not permitted",
    "Read-only",
    "Input/output error",
    "Too many open files",
    "Cannot allocate memory",
];

/// One open transaction. Lives only inside `catalog::read` and `catalog::write`.
pub struct Session<'a> {
    pub(crate) connection: Attached,
    pub(crate) home: &'a Home,
    /// When it began, which is what the ledger tells: the process may have begun hours before.
    pub(crate) at: Timestamp,
    /// What is open instead of the catalog, where DuckDB does not take its path.
    working_copy: Option<WorkingCopy>,
}

impl<'a> Session<'a> {
    pub(crate) fn open(
        home: &'a Home,
        path: &Path,
        access: Access,
        backoff: &mut Backoff,
    ) -> Result<Self> {
        let real = real_path(path)
            .with_context(|| format!("cannot open the catalog '{}'", path.display()))?;
        let working_copy = match working_copy::is_needed(&real) {
            true => Some(WorkingCopy::of(&real)?),
            false => None,
        };
        let opened = working_copy.as_ref().map_or(real, WorkingCopy::path);
        let dir = dir_of(&opened).to_str();
        let paths = dir.zip(opened.to_str());
        let (dir, opened) = paths.context("the path of the catalog is not UTF-8")?;
        loop {
            match Attached::open(dir, opened, access) {
                Ok(connection) => {
                    return Ok(Self {
                        connection,
                        home,
                        at: clock::now(),
                        working_copy,
                    });
                }
                Err(error) if is_lock_conflict(&error) => {
                    backoff.sleep(|| foreign_holder(&error))?
                }
                Err(error) => {
                    let path = path.display();
                    let reason = plain(&error);
                    if OUTSIDE.iter().any(|word| reason.contains(word)) {
                        bail!("cannot open the catalog '{path}': {reason}");
                    }
                    bail!(
                        "the catalog '{path}' does not open: {reason}; if it is damaged, move it and its .wal aside and build it again from the archives with bk-adopt"
                    );
                }
            }
        }
    }

    /// What was written is in the catalog from here on, also where a copy was written to.
    pub(crate) fn close(self) -> Result<()> {
        let Some(copy) = self.working_copy else {
            return Ok(());
        };
        let written = self.connection.execute_batch("CHECKPOINT");
        written.map_err(|error| anyhow!("cannot write the catalog: {}", plain(&error)))?;
        drop(self.connection);
        copy.put_back()
    }

    pub(crate) fn transaction<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.connection.execute_batch("BEGIN")?;
        match work() {
            Ok(value) => {
                let committed = self.connection.execute_batch("COMMIT");
                let cannot = || {
                    format!(
                        "cannot write the catalog '{}'",
                        self.home.catalog().display()
                    )
                };
                committed.map_err(|e| anyhow!("{}: {}", cannot(), plain(&e)))?;
                Ok(value)
            }
            Err(error) => {
                // The first error is the one to tell; a failed rollback ends with the close.
                let _ = self.connection.execute_batch("ROLLBACK");
                Err(error)
            }
        }
    }

    /// The version of the catalog, which is not newer than what this program knows.
    pub(crate) fn version(&self) -> Result<i64> {
        let version = self
            .setting("schema_version")?
            .context("the catalog has no schema_version")?;
        let version: i64 = version
            .parse()
            .context("the catalog's schema_version is no number")?;
        ensure!(
            version <= NEWEST,
            "the catalog is of version {version}, newer than this program, which knows {NEWEST}: install the newer bk"
        );
        ensure!(
            version >= 1,
            "the catalog is of version {version}, which there never was"
        );
        Ok(version)
    }

    /// The value of a setting.
    pub fn setting(&self, name: &str) -> Result<Option<String>> {
        let sql = "SELECT value FROM settings WHERE name = ?";
        let values: Vec<_> = self.rows(sql, [name], |row| row.get(0))?;
        Ok(values.into_iter().next())
    }

    /// Sets a setting.
    pub fn set_setting(&self, name: &str, value: &str) -> Result<()> {
        self.connection.execute(
            "INSERT OR REPLACE INTO settings VALUES (?, ?)",
            [name, value],
        )?;
        Ok(())
    }

    /// Every setting whose name begins so, by name.
    pub fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let sql = "SELECT name, value FROM settings WHERE starts_with(name, ?) ORDER BY name";
        self.rows(sql, [prefix], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// The rows of a query, each turned into a value.
    pub(crate) fn rows<T, All: FromIterator<T>>(
        &self,
        sql: &str,
        values: impl Params,
        value: impl FnMut(&Row<'_>) -> duckdb::Result<T>,
    ) -> Result<All> {
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map(values, value)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Takes a setting away.
    pub fn remove_setting(&self, name: &str) -> Result<()> {
        let sql = "DELETE FROM settings WHERE name = ?";
        self.connection.execute(sql, [name])?;
        Ok(())
    }

    /// Where new archives are put: what the setting says, else `archives/` in the home.
    pub fn storage_dir(&self) -> Result<PathBuf> {
        let setting = self.setting("storage_dir")?;
        Ok(setting.map_or_else(|| self.home.archives(), PathBuf::from))
    }
}

/// Any number of ids as the one parameter of [`IDS`]: a placeholder for each takes longer to
/// plan than all the rest of a query.
pub(crate) fn id_list(ids: &[i64]) -> String {
    let ids: Vec<_> = ids.iter().map(i64::to_string).collect();
    ids.join(SEPARATOR)
}

/// The parameters of [`IDS`] and of [`NAMES`]: each identity is in one of them, by its id where
/// it has one.
pub(crate) fn lists(wanted: &[Identity]) -> (String, String) {
    let ids: Vec<_> = wanted.iter().filter_map(|one| one.id).collect();
    let unnumbered = wanted.iter().filter(|one| one.id.is_none());
    let names: Vec<_> = unnumbered.filter_map(|one| one.name.as_deref()).collect();
    (id_list(&ids), names.join(SEPARATOR))
}

/// The path that DuckDB makes of one, also of a file that is to be made.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize().or_else(|_| {
        let dir = dir_of(path).canonicalize()?;
        Ok(dir.join(path.file_name().unwrap_or_default()))
    })
}

fn is_lock_conflict(error: &duckdb::Error) -> bool {
    error.to_string().contains("Could not set lock")
}

/// The first line of DuckDB's words, without what tells people nothing.
fn plain(error: &duckdb::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first
        .replace("TransactionContext Error: Failed to commit: ", "")
        .replace("FATAL Error: ", "")
        .replace(": Error code 1: Unknown error code", "")
}

/// DuckDB's words name the program and the pid: `Conflicting lock is held in /usr/bin/duckdb (PID 7)`.
fn foreign_holder(error: &duckdb::Error) -> String {
    let text = error.to_string();
    let held = text.split_once("lock is held in ").map(|(_, rest)| rest);
    let end = |rest: &str| rest.find(')').map(|at| rest[..=at].to_owned());
    held.and_then(end)
        .unwrap_or_else(|| "another program that has it open in DuckDB".to_owned())
}
