//! Where the catalog is, and how it is to be opened.
//!
//! Knows no DuckDB and makes nothing.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::storage::{Storages, Warn};

/// How long the lock is waited for unless `--lock-timeout` says otherwise.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the catalog is and how long its lock is waited for.
#[derive(Debug, Clone)]
pub struct Home {
    /// `$BK_HOME`, absolute.
    pub dir: PathBuf,
    /// Longest wait for the lock.
    pub lock_timeout: Duration,
    /// The program that asks, as those who wait will see it.
    pub program: &'static str,
    /// The one reading of the clock by which is decided.
    pub now: Timestamp,
    /// What its catalog tells of the storages.
    pub storages: Storages,
    /// The host that the user says this is; `None` for that of the setting.
    pub host: Option<String>,
}

impl Home {
    /// A home at an absolute path. `warn` tells people a text in the name of the program.
    pub fn new(dir: PathBuf, program: &'static str, now: Timestamp, warn: Warn) -> Self {
        Self {
            dir,
            lock_timeout: LOCK_TIMEOUT,
            program,
            now,
            storages: Storages::new(program, warn),
            host: None,
        }
    }

    /// The catalog file.
    pub fn catalog(&self) -> PathBuf {
        self.dir.join("catalog.duckdb")
    }

    /// Space that is kept for removals on a full disk.
    pub fn spare(&self) -> PathBuf {
        self.dir.join("catalog.spare")
    }

    /// Whether there is a catalog yet.
    pub fn has_catalog(&self) -> bool {
        self.catalog().exists()
    }

    /// Where archives are kept unless the setting `storage_dir` says otherwise.
    pub fn archives(&self) -> PathBuf {
        self.dir.join("archives")
    }
}
