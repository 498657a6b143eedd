//! Brings whole archives back to where their records say that they are, or to a directory.
//!
//! No catalog is open while anything is read from the location.

use std::ffi::OsString;

use anyhow::{Result, bail};
use bk_cli::{Arguments, Output};
use bk_offsite::Destination;
use bk_store::Home;

pub(crate) fn run(
    arguments: &Arguments,
    home: &Home,
    destination: &Destination,
    location: &str,
    backups: &[OsString],
    output: Output,
) -> Result<u8> {
    let _ = (arguments, home, destination, location, backups, output);
    bail!("not built yet")
}
