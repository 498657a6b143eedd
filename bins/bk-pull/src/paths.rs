//! `--path`: some files of backups, straight from the location: only the members that hold them are read.
//!
//! Changes no catalog.

use std::ffi::OsString;

use anyhow::{Result, bail};
use bk_cli::Arguments;
use bk_offsite::Destination;
use bk_store::Home;

pub(crate) fn run(
    arguments: &Arguments,
    home: &Home,
    destination: &Destination,
    location: &str,
    backups: &[OsString],
) -> Result<u8> {
    let _ = (arguments, home, destination, location, backups);
    bail!("not built yet")
}
