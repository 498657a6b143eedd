//! The catalog: sessions, and below it every query. The only SQL outside migrations/.
//!
//! A session locks, opens, runs one transaction, closes and unlocks; what it returns are plain
//! values, so that nobody can hold the catalog while touching a pipe, a terminal or an archive.
//! Knows no archive format; recovery alone touches archives, by their paths.

mod history;
mod ledger;
mod records;
mod storages;
mod trust;
mod version;
mod working_copy;

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use duckdb::{AccessMode, Config, Connection};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::clock;
use crate::durable::{make_dir, privately, sync_dir};
use crate::home::Home;
use crate::lines::{Identity, Line};
use crate::lock::{Access, Backoff, Lock};
use crate::migrations::NEWEST;
use crate::record::Backup;
use crate::storage::exposed;
use crate::{recovery, spare};
use storages::Archive;
use working_copy::WorkingCopy;

pub use history::{BadEntry, Entry, Wanted};
pub use ledger::{EVENTS, Event, Removed};
pub use trust::GAP;

/// Between the items of a list that is one parameter: no name holds it.
const SEPARATOR: &str = "\n";
/// What an id is in, where the parameter is an [`id_list`]; of an empty one, nothing.
const IDS: &str = "(SELECT TRY_CAST(unnest(string_split(?, chr(10))) AS BIGINT))";
/// What a name is in, where the parameter is a list of them.
const NAMES: &str = "(SELECT unnest(string_split(?, chr(10))))";

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

/// One open transaction. Lives only inside [`read`] and [`write`].
pub struct Session<'a> {
    connection: Connection,
    home: &'a Home,
    /// When it began, which is what the ledger tells: the process may have begun hours before.
    at: Timestamp,
    /// What is open instead of the catalog, where DuckDB does not take its path.
    working_copy: Option<WorkingCopy>,
}

/// Runs one read transaction, after it has upgraded the catalog where that is an older one.
///
/// # Errors
/// No catalog, a newer one, one that cannot be upgraded or does not open, a lock that is not to be had.
pub fn read<T>(home: &Home, work: impl FnOnce(&Session<'_>) -> Result<T>) -> Result<T> {
    check_there(home)?;
    let mut backoff = Backoff::new(home.lock_timeout);
    loop {
        let lock = Lock::take(&home.dir, Access::Read, home.program, &mut backoff)?;
        let session = Session::open(home, &home.catalog(), Access::Read, &mut backoff)?;
        if session.version()? == NEWEST {
            home.storages.set(session.storages()?);
            return work(&session);
        }
        drop(session);
        drop(lock);
        version::upgrade_first(home, &mut backoff)?;
    }
}

/// For a program that writes and is to make no catalog.
///
/// # Errors
/// No catalog; the message tells who makes one.
pub fn check_there(home: &Home) -> Result<()> {
    let is_there = home.catalog().try_exists();
    ensure!(
        is_there.with_context(|| format!("cannot look into the home '{}'", home.dir.display()))?,
        "there is no catalog in '{}': bk-create makes one with the first backup, bk-adopt one of archives that are there; --home names another place",
        home.dir.display()
    );
    Ok(())
}

/// A record with the line that it was asked for by.
pub type Found = Result<(Backup, Map<String, Value>)>;

/// Looks up what lines name, in their order. Opens no catalog for none.
///
/// # Errors
/// As [`read`]; each that is unknown or damaged is an error of its own.
pub fn look_up(home: &Home, lines: Vec<Line>) -> Result<Vec<Found>> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    read(home, |session| session.found(Some(lines)))
}

/// Runs one write transaction, after it has made the catalog where it is missing, upgraded it
/// where it is an older one, and failed the creations that dead processes left.
///
/// # Errors
/// As [`read`], and those of the disk. Nothing of `work` is kept where an error is returned.
pub fn write<T>(home: &Home, work: impl FnOnce(&Session<'_>) -> Result<T>) -> Result<T> {
    write_then(home, work, Ok)
}

/// As [`write`], and does `then` after the commit, before anybody else gets the catalog: for
/// the lock that tells recovery of a row that it is being worked on.
///
/// # Errors
/// As [`write`]; where `then` returns one, what `work` wrote is kept.
pub fn write_then<T, U>(
    home: &Home,
    work: impl FnOnce(&Session<'_>) -> Result<T>,
    then: impl FnOnce(T) -> Result<U>,
) -> Result<U> {
    let (value, unmarked) = privately(|| {
        let mut backoff = Backoff::new(home.lock_timeout);
        let _lock = lock_to_write(home, &mut backoff)?;
        let (value, unmarked) = transact(home, &mut backoff, &[], work)?;
        spare::lay_by(home);
        Ok::<_, Error>((then(value)?, unmarked))
    })?;
    mark(home, unmarked);
    Ok(value)
}

/// As [`write`], for a removal, which makes no catalog: the spare is given up for it, as the disk
/// may be full, and recovery leaves to this process the rows that are its `own` work.
///
/// # Errors
/// As [`write`].
pub fn write_removal<T>(
    home: &Home,
    own: &[i64],
    work: impl FnOnce(&Session<'_>) -> Result<T>,
) -> Result<T> {
    check_there(home)?;
    let (value, unmarked) = privately(|| {
        let mut backoff = Backoff::new(home.lock_timeout);
        let _lock = lock_to_write(home, &mut backoff)?;
        spare::give_up(home);
        transact(home, &mut backoff, own, work)
    })?;
    mark(home, unmarked);
    Ok(value)
}

/// Marks the storages that a session found without a marker, once the catalog is left: whoever
/// waits for a storage that hangs is to hold up nobody else.
fn mark(home: &Home, unmarked: Vec<Archive>) {
    let marked = storages::mark_all(unmarked);
    if marked.is_empty() {
        return;
    }
    // The next session that writes finds the marker and tries it again.
    let _ = privately(|| {
        let mut backoff = Backoff::new(home.lock_timeout);
        let _lock = lock_to_write(home, &mut backoff)?;
        transact(home, &mut backoff, &[], |session| {
            session.keep_marked(&marked)
        })
    });
}

fn lock_to_write(home: &Home, backoff: &mut Backoff) -> Result<Lock> {
    make_dir(&home.dir)
        .with_context(|| format!("cannot make the home '{}'", home.dir.display()))?;
    let lock = Lock::take(&home.dir, Access::Write, home.program, backoff)?;
    home.storages.set_writes();
    if let Some(exposed) = exposed(&home.dir) {
        let dir = home.dir.display();
        let text = format!("warning: the home '{dir}' {exposed}");
        home.storages.tell(&text);
    }
    version::close_to_others(home);
    Ok(lock)
}

/// The value of `work`, and the archives in directories that are no storages yet.
fn transact<T>(
    home: &Home,
    backoff: &mut Backoff,
    own: &[i64],
    work: impl FnOnce(&Session<'_>) -> Result<T>,
) -> Result<(T, Vec<Archive>)> {
    if !home.has_catalog() {
        version::create(home, backoff)?;
    }
    let mut session = Session::open(home, &home.catalog(), Access::Write, backoff)?;
    if session.version()? < NEWEST {
        drop(session);
        version::upgrade(home, backoff)?;
        session = Session::open(home, &home.catalog(), Access::Write, backoff)?;
    }
    home.storages.set(session.storages()?);
    recovery::run(&session, own)?;
    let value = session.transaction(|| {
        session.settle_host()?;
        let value = work(&session)?;
        // Not in each part of a long removal, which brings no archive anywhere.
        let unmarked = match own {
            [] => session.unmarked()?,
            _ => Vec::new(),
        };
        Ok((value, unmarked))
    })?;
    session.close()?;
    sync_dir(&home.dir)?;
    Ok(value)
}

impl<'a> Session<'a> {
    fn open(home: &'a Home, path: &Path, access: Access, backoff: &mut Backoff) -> Result<Self> {
        let working_copy = match working_copy::is_needed(path) {
            true => Some(WorkingCopy::of(path)?),
            false => None,
        };
        let opened = working_copy
            .as_ref()
            .map_or_else(|| path.to_owned(), WorkingCopy::path);
        loop {
            match Connection::open_with_flags(&opened, config(access)?) {
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
    fn close(self) -> Result<()> {
        let Some(copy) = self.working_copy else {
            return Ok(());
        };
        let written = self.connection.execute_batch("CHECKPOINT");
        written.map_err(|error| anyhow!("cannot write the catalog: {}", plain(&error)))?;
        drop(self.connection);
        copy.put_back()
    }

    /// Where it is.
    pub(crate) fn home(&self) -> &Home {
        self.home
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
    fn version(&self) -> Result<i64> {
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
    ///
    /// # Errors
    /// Those of the query.
    pub fn setting(&self, name: &str) -> Result<Option<String>> {
        let mut statement = self
            .connection
            .prepare("SELECT value FROM settings WHERE name = ?")?;
        let mut rows = statement.query([name])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
    }

    /// Sets a setting.
    ///
    /// # Errors
    /// Those of the query.
    pub fn set_setting(&self, name: &str, value: &str) -> Result<()> {
        self.connection.execute(
            "INSERT OR REPLACE INTO settings VALUES (?, ?)",
            [name, value],
        )?;
        Ok(())
    }

    /// Every setting whose name begins so, by name.
    ///
    /// # Errors
    /// Those of the query.
    pub fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let sql = "SELECT name, value FROM settings WHERE starts_with(name, ?) ORDER BY name";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([prefix], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Takes a setting away.
    ///
    /// # Errors
    /// Those of the query.
    pub fn remove_setting(&self, name: &str) -> Result<()> {
        let sql = "DELETE FROM settings WHERE name = ?";
        self.connection.execute(sql, [name])?;
        Ok(())
    }

    /// Where new archives are put: what the setting says, else `archives/` in the home.
    ///
    /// # Errors
    /// Those of the query.
    pub fn storage_dir(&self) -> Result<PathBuf> {
        let setting = self.setting("storage_dir")?;
        Ok(setting.map_or_else(|| self.home.archives(), PathBuf::from))
    }
}

/// Any number of ids as the one parameter of [`IDS`]: a placeholder for each takes longer to
/// plan than all the rest of a query.
fn id_list(ids: &[i64]) -> String {
    let ids: Vec<_> = ids.iter().map(i64::to_string).collect();
    ids.join(SEPARATOR)
}

/// The parameters of [`IDS`] and of [`NAMES`]: each identity is in one of them, by its id where
/// it has one.
fn lists(wanted: &[Identity]) -> (String, String) {
    let ids: Vec<_> = wanted.iter().filter_map(|one| one.id).collect();
    let unnumbered = wanted.iter().filter(|one| one.id.is_none());
    let names: Vec<_> = unnumbered.filter_map(|one| one.name.as_deref()).collect();
    (id_list(&ids), names.join(SEPARATOR))
}

fn config(access: Access) -> Result<Config> {
    let mode = if access == Access::Read {
        AccessMode::ReadOnly
    } else {
        AccessMode::ReadWrite
    };
    Ok(Config::default()
        .access_mode(mode)?
        .threads(1)?
        .max_memory("256MB")?
        .enable_autoload_extension(false)?
        // Before enable_external_access, after which it can no longer be set.
        .with("temp_directory", "")?
        .enable_external_access(false)?
        .with("storage_compatibility_version", "v1.5.0")?
        .with("lock_configuration", "true")?)
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
