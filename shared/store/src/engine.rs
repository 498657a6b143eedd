//! The DuckDB of this process: in memory, with one thread, and nothing of the file system but one
//! directory.
//!
//! Starting one takes ten times as long as attaching a catalog to it, so it is kept for the next
//! session and for manifests. Knows no table of the catalog.

use std::ops::Deref;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use duckdb::{Config, Connection};

use crate::lock::Access;
use crate::manifest::stream;
use crate::manifest::table::quoted;

/// What DuckDB may take for rows, its own needs aside.
const MEMORY: &str = "256MB";
/// Of a catalog that is made: older DuckDBs need not read it.
const STORAGE_VERSION: &str = "v1.5.0";
/// Of a new catalog, which is small: with DuckDB's own 256 KiB a dozen records took 5 MB, and two fifths of
/// bk-create's page faults were those of such blocks.
const BLOCK_BYTES: u32 = 16 << 10;
/// The fewest that DuckDB takes: a checkpoint writes the last row group of a table, with its key, anew. With
/// DuckDB's own 122 880 rows one more event after 20 000 took 114 ms, with these 5 to 13.
const ROW_GROUP_ROWS: u32 = 2048;
/// The name of an attached catalog, which is the one that statements mean.
const CATALOG: &str = "catalog";

/// One that no session has at the moment, and the directory that it may touch.
static ENGINE: Mutex<Option<(String, Connection)>> = Mutex::new(None);

fn engine() -> MutexGuard<'static, Option<(String, Connection)>> {
    ENGINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection to the DuckDB for a directory.
///
/// # Errors
/// A path that is not UTF-8, and those of DuckDB.
pub(crate) fn connect(dir: &Path) -> Result<Connection> {
    let dir = dir.canonicalize()?;
    let dir = dir.to_str().context("its path is not UTF-8")?;
    let mut engine = engine();
    let kept = match engine.take().filter(|it| is_of_use(it, dir)) {
        Some((_, kept)) => kept,
        None => start(dir)?,
    };
    let connection = kept.try_clone()?;
    *engine = Some((dir.to_owned(), kept));
    Ok(connection)
}

/// One in which a statement went badly wrong takes no other.
fn is_of_use((of, connection): &(String, Connection), dir: &str) -> bool {
    of == dir && connection.execute_batch("SELECT 1").is_ok()
}

fn start(dir: &str) -> duckdb::Result<Connection> {
    let config = Config::default()
        .threads(1)?
        .max_memory(MEMORY)?
        .enable_autoload_extension(false)?
        .with("autoinstall_known_extensions", "false")?;
    let connection = Connection::open_in_memory_with_flags(config)?;
    // Times in the catalog are in UTC. A DuckDB without ICU knows no other zone, nor the setting.
    let _ = connection.execute_batch("SET TimeZone = 'UTC'");
    connection.execute_batch(&format!(
        "SET temp_directory = ''; SET allowed_directories = [{}]; SET allowed_configs = ['schema'];
         SET enable_external_access = false; SET lock_configuration = true",
        quoted(&format!("{dir}/"))
    ))?;
    stream::register(&connection)?;
    Ok(connection)
}

/// A catalog that is open, until it is dropped, in a DuckDB that no other session has.
pub(crate) struct Attached {
    dir: String,
    connection: Connection,
}

impl Attached {
    /// Opens the catalog in a file that is in `dir`; one to write to is made where it is not there.
    ///
    /// # Errors
    /// Those of DuckDB: another process that has it open, a damaged file.
    pub(crate) fn open(dir: &str, path: &str, access: Access) -> duckdb::Result<Self> {
        let kept = engine().take().filter(|it| is_of_use(it, dir));
        let connection = match kept {
            Some((_, kept)) => kept,
            None => start(dir)?,
        };
        let options = match access {
            Access::Read => "READ_ONLY".to_owned(),
            Access::Write => {
                let options = format!(
                    "STORAGE_VERSION {}, ROW_GROUP_SIZE {ROW_GROUP_ROWS}",
                    quoted(STORAGE_VERSION)
                );
                // The blocks of one that is there are as they are.
                if Path::new(path).exists() {
                    options
                } else {
                    format!("{options}, BLOCK_SIZE {BLOCK_BYTES}")
                }
            }
        };
        let attached = Self {
            dir: dir.to_owned(),
            connection,
        };
        let path = quoted(path);
        attached.execute_batch(&format!(
            "ATTACH {path} AS {CATALOG} ({options}); USE {CATALOG}"
        ))?;
        Ok(attached)
    }
}

impl Deref for Attached {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Fails where all is well: there is no transaction.
        let _ = self.execute_batch("ROLLBACK");
        // What was committed is in the WAL where the file itself cannot be put in order. A DuckDB
        // that is not kept closes it with its last connection.
        let detach = format!("USE memory; DETACH DATABASE IF EXISTS {CATALOG}");
        if self.execute_batch(&detach).is_ok()
            && let Ok(kept) = self.connection.try_clone()
        {
            *engine() = Some((std::mem::take(&mut self.dir), kept));
        }
    }
}
