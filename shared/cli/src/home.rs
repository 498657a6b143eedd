//! Which home a program works on: from its flags and the environment.
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

/// By `--home`, `$BK_HOME` or the default of the user; by `--lock-timeout`.
///
/// # Errors
/// A time-out that is no span of time, a user without a home directory, a `BK_HOST` that is no
/// name.
pub fn from_arguments(
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
                let user = env("HOME").context(
                    "cannot tell where the catalog is: give --home, or set BK_HOME or HOME",
                )?;
                Path::new(&user).join(".local/share/bk")
            }
        },
    };
    let dir = std::path::absolute(&dir)
        .with_context(|| format!("cannot find the home '{}'", dir.display()))?;
    let mut home = Home::new(dir, program.name, now, warn);
    if let Some(span) = arguments.text(&LOCK_TIMEOUT)? {
        home.lock_timeout = units::parse_duration(span).map_err(|e| usage(&e, "--lock-timeout"))?;
    }
    if let Some(name) = env(host::VARIABLE) {
        let name = host::parse(&name.to_string_lossy());
        home.host = Some(name.map_err(|e| usage(&e, host::VARIABLE))?);
    }
    Ok(home)
}
