//! Where the catalog is, and how it is to be opened: from the flags and the environment.
//!
//! Knows no DuckDB and makes nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::cli::{Arguments, Program, usage};
use crate::storage::Storages;
use crate::{host, units};

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
    /// By `--home`, `$BK_HOME` or the default of the user; by `--lock-timeout`.
    ///
    /// # Errors
    /// A time-out that is no span of time, a user without a home directory, a `BK_HOST` that is no
    /// name.
    pub fn new(program: &'static Program, arguments: &Arguments, now: Timestamp) -> Result<Self> {
        let lock_timeout = match arguments.text("lock-timeout")? {
            Some(span) => units::parse_duration(span).map_err(|e| usage(&e, "--lock-timeout"))?,
            None => LOCK_TIMEOUT,
        };
        let env = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let given = arguments.value("home").cloned().or_else(|| env("BK_HOME"));
        let dir = match given {
            Some(dir) => PathBuf::from(dir),
            None if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/bk"),
            None => match env("XDG_DATA_HOME") {
                Some(data) => Path::new(&data).join("bk"),
                None => {
                    let user = env("HOME").context(
                        "cannot tell where the catalog is: give --home, or set BK_HOME or HOME",
                    )?;
                    Path::new(&user).join(".local/share/bk")
                }
            },
        };
        let host = env(host::VARIABLE).map(|name| {
            let name = name.to_string_lossy();
            host::parse(&name).map_err(|e| usage(&e, host::VARIABLE))
        });
        let dir = std::path::absolute(&dir)
            .with_context(|| format!("cannot find the home '{}'", dir.display()))?;
        Ok(Self {
            dir,
            lock_timeout,
            program: program.name,
            now,
            storages: Storages::new(program.name),
            host: host.transpose()?,
        })
    }

    /// The catalog file.
    #[must_use]
    pub fn catalog(&self) -> PathBuf {
        self.dir.join("catalog.duckdb")
    }

    /// Space that is kept for removals on a full disk.
    #[must_use]
    pub fn spare(&self) -> PathBuf {
        self.dir.join("catalog.spare")
    }

    /// Whether there is a catalog yet.
    #[must_use]
    pub fn has_catalog(&self) -> bool {
        self.catalog().exists()
    }

    /// Where archives are kept unless the setting `storage_dir` says otherwise.
    #[must_use]
    pub fn archives(&self) -> PathBuf {
        self.dir.join("archives")
    }
}
