//! The catalog: sessions, and every query. The only SQL outside migrations/.
//!
//! A session locks, opens, runs one transaction, closes and unlocks; what it returns are plain
//! values, so that nobody can hold the catalog while touching a pipe, a terminal or an archive.
//! Knows no archive format; recovery alone touches archives, by their paths.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use duckdb::{AccessMode, Config, Connection, params};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::durable::{make_dir, sync_dir};
use crate::home::Home;
use crate::lines::{Identity, Line};
use crate::lock::{Access, Backoff, Lock};
use crate::migrations::{MIGRATIONS, NEWEST};
use crate::record::{Backup, Status};
use crate::rows::{BadRow, backup_from, match_rows};

/// Columns of `backup_records` in their order, times as microseconds since 1970.
const COLUMNS: &str = "id, backup_name, backup_type, status, source_version, backup_path, backup_size, \
     file_count, compression_type, backup_hash, description, backup_metadata, protected, \
     epoch_us(created_at), epoch_us(expires_at)";

/// Placeholders in one query: a longer list of identities is looked up in parts.
const LOOKUP_CHUNK: usize = 1000;

/// A row of the ledger.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// Which backup, where there is one.
    pub backup: Option<(i64, &'a str)>,
    /// What happened: `create`, `recover`, ...
    pub event: &'a str,
    /// Whether it went well.
    pub ok: bool,
    /// A JSON object.
    pub details: Value,
}

/// One open transaction. Lives only inside [`read`] and [`write`].
pub struct Session<'a> {
    connection: Connection,
    home: &'a Home,
}

/// Runs one read transaction.
///
/// # Errors
/// No catalog, an older or newer one, one that does not open, a lock that is not to be had.
pub fn read<T>(home: &Home, work: impl FnOnce(&Session<'_>) -> Result<T>) -> Result<T> {
    let is_there = home.catalog().try_exists();
    ensure!(
        is_there.with_context(|| format!("cannot look into the home '{}'", home.dir.display()))?,
        "there is no catalog in '{}': bk-create makes one with the first backup, bk-adopt one of archives that are there; --home names another place",
        home.dir.display()
    );
    let mut backoff = Backoff::new(home.lock_timeout);
    let _lock = Lock::take(
        &home.dir,
        Access::Read,
        home.program,
        home.now,
        &mut backoff,
    )?;
    let session = Session::open(home, &home.catalog(), Access::Read, &mut backoff)?;
    session.check_version()?;
    work(&session)
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
    let wanted: Vec<Identity> = lines.iter().map(|line| line.identity.clone()).collect();
    let rows = read(home, |session| session.find(&wanted))?;
    let pair = |(row, line): (Result<Backup>, Line)| Ok((row?, line.object));
    Ok(rows.into_iter().zip(lines).map(pair).collect())
}

/// Runs one write transaction, after it has made the catalog where it is missing and failed the
/// creations that dead processes left.
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
    make_dir(&home.dir)
        .with_context(|| format!("cannot make the home '{}'", home.dir.display()))?;
    let mut backoff = Backoff::new(home.lock_timeout);
    let _lock = Lock::take(
        &home.dir,
        Access::Write,
        home.program,
        home.now,
        &mut backoff,
    )?;
    if !home.has_catalog() {
        create_catalog(home, &mut backoff)?;
    }
    let session = Session::open(home, &home.catalog(), Access::Write, &mut backoff)?;
    session.check_version()?;
    session.recover()?;
    let value = session.transaction(|| work(&session))?;
    drop(session);
    sync_dir(&home.dir)?;
    then(value)
}

/// A half-made catalog is never seen: it is made under another name, then renamed.
fn create_catalog(home: &Home, backoff: &mut Backoff) -> Result<()> {
    let fresh = home.dir.join("catalog.duckdb.new");
    let cannot = || format!("cannot make the catalog in '{}'", home.dir.display());
    let orphan = home.dir.join("catalog.duckdb.wal");
    // DuckDB would refuse the new catalog for it.
    ensure!(
        orphan.symlink_metadata().is_err(),
        "{}: '{}' is left of the catalog that was there: move it aside too",
        cannot(),
        orphan.display()
    );
    for leftover in [fresh.clone(), home.dir.join("catalog.duckdb.new.wal")] {
        match std::fs::remove_file(leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(cannot);
            }
            _ => {}
        }
    }
    let session = Session::open(home, &fresh, Access::Write, backoff).with_context(cannot)?;
    session
        .transaction(|| {
            for (_, sql) in MIGRATIONS {
                session.connection.execute_batch(sql)?;
            }
            session.set_setting("schema_version", &NEWEST.to_string())
        })
        .with_context(cannot)?;
    session
        .connection
        .execute_batch("CHECKPOINT")
        .with_context(cannot)?;
    drop(session);
    std::fs::File::open(&fresh)
        .and_then(|file| file.sync_all())
        .with_context(cannot)?;
    std::fs::rename(&fresh, home.catalog()).with_context(cannot)?;
    sync_dir(&home.dir)
}

impl<'a> Session<'a> {
    fn open(home: &'a Home, path: &Path, access: Access, backoff: &mut Backoff) -> Result<Self> {
        loop {
            match Connection::open_with_flags(path, config(access)?) {
                Ok(connection) => return Ok(Self { connection, home }),
                Err(error) if is_lock_conflict(&error) => {
                    backoff.sleep(|| foreign_holder(&error))?
                }
                Err(error) => {
                    let path = path.display();
                    let reason = plain(&error);
                    let is_outside = ["No space left", "Permission denied", "Read-only"];
                    if is_outside.iter().any(|word| reason.contains(word)) {
                        bail!("cannot open the catalog '{path}': {reason}");
                    }
                    bail!(
                        "the catalog '{path}' does not open: {reason}; if it is damaged, move it and its .wal aside and build it again from the archives with bk-adopt"
                    );
                }
            }
        }
    }

    fn transaction<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.connection.execute_batch("BEGIN")?;
        match work() {
            Ok(value) => {
                let committed = self.connection.execute_batch("COMMIT");
                committed.map_err(|e| anyhow!("cannot write the catalog: {}", plain(&e)))?;
                Ok(value)
            }
            Err(error) => {
                // The first error is the one to tell; a failed rollback ends with the close.
                let _ = self.connection.execute_batch("ROLLBACK");
                Err(error)
            }
        }
    }

    fn check_version(&self) -> Result<()> {
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
            version == NEWEST,
            "the catalog is of version {version}, older than this program, which knows {NEWEST}: use the bk that made it"
        );
        Ok(())
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

    /// Every backup, oldest first.
    ///
    /// # Errors
    /// Those of the query; a bad row is none.
    pub fn backups(&self) -> Result<Vec<Result<Backup, BadRow>>> {
        self.select("", &[])
    }

    /// The backups that are meant, in the order in which they are.
    ///
    /// # Errors
    /// Those of the query. Each that is unknown, damaged, or named otherwise than its id says
    /// is an error of its own.
    pub fn find(&self, wanted: &[Identity]) -> Result<Vec<Result<Backup>>> {
        let mut rows = Vec::new();
        for chunk in wanted.chunks(LOOKUP_CHUNK) {
            let values = chunk.iter().map(|one| match (one.id, &one.name) {
                (Some(id), _) => id.to_string(),
                (None, name) => name.clone().unwrap_or_default(),
            });
            let terms: Vec<_> = chunk
                .iter()
                .map(|one| match one.id {
                    Some(_) => "id = CAST(? AS BIGINT)",
                    None => "backup_name = ?",
                })
                .collect();
            let condition = format!("WHERE {}", terms.join(" OR "));
            rows.extend(self.select(&condition, &values.collect::<Vec<_>>())?);
        }
        Ok(match_rows(wanted, &rows))
    }

    fn select(&self, condition: &str, values: &[String]) -> Result<Vec<Result<Backup, BadRow>>> {
        let sql =
            format!("SELECT {COLUMNS} FROM backup_records {condition} ORDER BY created_at, id");
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(duckdb::params_from_iter(values))?;
        let mut backups = Vec::new();
        while let Some(row) = rows.next()? {
            backups.push(backup_from(row).map_err(|error| BadRow {
                id: row.get(0).unwrap_or_default(),
                name: row.get(1).unwrap_or_default(),
                reason: format!("{error:#}"),
            }));
        }
        Ok(backups)
    }

    /// Adds a record and returns it with its id. The `id` that it comes with is not used.
    ///
    /// # Errors
    /// A record that breaks its rules, a name that is taken.
    pub fn insert(&self, backup: &Backup) -> Result<Backup> {
        let id: i64 = self
            .connection
            .query_row("SELECT nextval('backup_id')", [], |row| row.get(0))?;
        let backup = Backup {
            id,
            ..backup.clone()
        };
        backup.check()?;
        self.connection.execute(
            "INSERT INTO backup_records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, make_timestamp(?), make_timestamp(?))",
            params![
                backup.id, backup.backup_name, backup.backup_type.name(), backup.status.name(), backup.source_version,
                backup.backup_path, backup.backup_size, backup.file_count, backup.compression_type, backup.backup_hash,
                backup.description, Value::Object(backup.backup_metadata.clone()).to_string(), backup.protected,
                backup.created_at.as_microsecond(), backup.expires_at.map(Timestamp::as_microsecond)
            ],
        )?;
        Ok(backup)
    }

    /// Writes all of a record but its id, its name and its creation.
    ///
    /// # Errors
    /// A record that breaks its rules, or that is no longer there.
    pub fn update(&self, backup: &Backup) -> Result<()> {
        backup.check()?;
        let changed = self.connection.execute(
            "UPDATE backup_records SET backup_type = ?, status = ?, source_version = ?, backup_path = ?, \
             backup_size = ?, file_count = ?, compression_type = ?, backup_hash = ?, description = ?, \
             backup_metadata = ?, protected = ?, expires_at = make_timestamp(?) WHERE id = ?",
            params![
                backup.backup_type.name(), backup.status.name(), backup.source_version, backup.backup_path,
                backup.backup_size, backup.file_count, backup.compression_type, backup.backup_hash, backup.description,
                Value::Object(backup.backup_metadata.clone()).to_string(), backup.protected,
                backup.expires_at.map(Timestamp::as_microsecond), backup.id
            ],
        )?;
        ensure!(
            changed == 1,
            "the record {} was removed in the meantime",
            backup.id
        );
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

    /// The record of this name.
    ///
    /// # Errors
    /// Those of the query, and a record that breaks its rules.
    pub fn named(&self, name: &str) -> Result<Option<Backup>> {
        let rows = self.select("WHERE backup_name = ?", &[name.to_owned()])?;
        Ok(rows.into_iter().next().transpose()?)
    }

    /// Removes a record. The ledger keeps its history.
    ///
    /// # Errors
    /// Those of the query.
    pub fn remove(&self, id: i64) -> Result<()> {
        self.connection
            .execute("DELETE FROM backup_records WHERE id = ?", [id])?;
        Ok(())
    }

    /// Adds a row to the ledger.
    ///
    /// # Errors
    /// Those of the query.
    pub fn log(&self, event: &Event<'_>) -> Result<()> {
        let outcome = if event.ok { "ok" } else { "failed" };
        self.connection.execute(
            "INSERT INTO backup_events SELECT nextval('event_id'), make_timestamp(?), ?, ?, ?, ?, ?, ?",
            params![
                self.home.now.as_microsecond(), self.home.program, event.backup.map(|(id, _)| id),
                event.backup.map(|(_, name)| name), event.event, outcome, event.details.to_string()
            ],
        )?;
        Ok(())
    }

    /// Turns `creating` rows whose writer is dead into `failed` ones, in a transaction of its own.
    fn recover(&self) -> Result<()> {
        let creating = self.select("WHERE status = 'creating'", &[])?;
        let dead: Vec<_> = creating
            .into_iter()
            .flatten()
            .filter_map(|backup| {
                crate::recovery::dead_creation(&backup).map(|reason| (backup, reason))
            })
            .collect();
        if dead.is_empty() {
            return Ok(());
        }
        self.transaction(|| {
            for (mut backup, reason) in dead {
                backup.status = Status::Failed;
                backup
                    .backup_metadata
                    .insert("failure".into(), reason.clone().into());
                self.update(&backup)?;
                let who = Some((backup.id, backup.backup_name.as_str()));
                self.log(&Event {
                    backup: who,
                    event: "recover",
                    ok: true,
                    details: serde_json::json!({ "reason": reason }),
                })?;
            }
            Ok(())
        })
    }
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
