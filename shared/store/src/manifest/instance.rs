//! The DuckDB that reads and writes manifests: one in a process, in memory, which may touch their
//! directory and nothing else.
//!
//! Starting one takes longer than a small manifest. Knows no manifest.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use duckdb::{Config, Connection};

use crate::manifest::stream;
use crate::manifest::table::quoted;

/// What DuckDB may take for rows, its own needs aside.
const MEMORY: &str = "256MB";

/// The directory it may touch, and a connection that is kept to connect others.
static INSTANCE: Mutex<Option<(PathBuf, Connection)>> = Mutex::new(None);

/// A connection to the instance for `dir`.
///
/// # Errors
/// A directory whose path DuckDB cannot take.
pub(super) fn connect(dir: &Path) -> Result<Connection> {
    let mut instance = INSTANCE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, connection)) = instance.as_ref().filter(|(of, _)| of == dir) {
        return Ok(connection.try_clone()?);
    }
    let started = start(dir)?;
    let connection = started.try_clone()?;
    *instance = Some((dir.to_owned(), started));
    Ok(connection)
}

fn start(dir: &Path) -> Result<Connection> {
    let text = dir.to_str().context("its path is not UTF-8")?;
    let config = Config::default()
        .threads(1)?
        .max_memory(MEMORY)?
        .enable_autoload_extension(false)?
        .with("autoinstall_known_extensions", "false")?;
    let connection = Connection::open_in_memory_with_flags(config)?;
    connection.execute_batch(&format!(
        "SET temp_directory = ''; SET allowed_directories = [{}];
         SET enable_external_access = false; SET lock_configuration = true",
        quoted(&format!("{text}/"))
    ))?;
    stream::register(&connection)?;
    Ok(connection)
}
