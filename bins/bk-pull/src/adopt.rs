//! `--adopt`: records what the location holds in the catalog, without the archives.
//!
//! Brings nothing back.

use anyhow::{Result, bail};
use bk_cli::{Arguments, Output};
use bk_offsite::Destination;
use bk_store::Home;

pub(crate) fn run(
    arguments: &Arguments,
    home: &Home,
    destination: &Destination,
    location: &str,
    output: Output,
) -> Result<u8> {
    let _ = (arguments, home, destination, location, output);
    bail!("not built yet")
}
