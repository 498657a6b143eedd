//! The home that a program works on, from its flags and the environment.
//!
//! Opens no catalog.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bk_schema::host;
use bk_store::home::Home;
use jiff::Timestamp;

use crate::flags::{Arguments, HOME, LOCK_TIMEOUT, Program};
use crate::message::{usage, warn};
use crate::units;

/// The home: `--home`, else `$BK_HOME`, else the default for this user; with the lock timeout and
/// `$BK_HOST`.
///
/// # Errors
/// An invalid `--lock-timeout` or `BK_HOST`, and a user without a home directory.
pub(crate) fn from_arguments(
    program: &'static Program,
    arguments: &Arguments,
    now: Timestamp,
) -> Result<Home> {
    let env = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let given = arguments.value(&HOME).cloned().or_else(|| env("BK_HOME"));
    let dir = match given {
        Some(dir) => PathBuf::from(dir),
        None if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/bk"),
        None => match env("XDG_DATA_HOME") {
            Some(data) => Path::new(&data).join("bk"),
            None => {
                let user = env("HOME")
                    .context("cannot find the catalog: use --home, or set BK_HOME or HOME")?;
                Path::new(&user).join(".local/share/bk")
            }
        },
    };
    let dir = std::path::absolute(&dir)
        .with_context(|| format!("cannot find the home '{}'", dir.display()))?;
    let mut home = Home::new(dir, program.name, now, warn);
    if let Some(timeout) = arguments.parsed(&LOCK_TIMEOUT, units::parse_duration)? {
        home.lock_timeout = timeout;
    }
    if let Some(name) = env(host::VARIABLE) {
        let name = host::parse(&name.to_string_lossy());
        home.host = Some(name.map_err(|e| usage(&e, host::VARIABLE))?);
    }
    Ok(home)
}
