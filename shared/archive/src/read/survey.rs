//! What a manifest tells of an archive, read from the archive itself.
//!
//! Knows no file that it goes to.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result, ensure};
use bk_schema::manifest::Segment;

use crate::hashed::Whole;
use crate::read::entries::Entries;

/// How much is read between two checks whether to stop.
const READ_BYTES: usize = 1 << 20;

/// Reads an archive to its end. `add` gets the entries that count, in their order.
///
/// # Errors
/// Damage, failed reads, and being interrupted.
pub fn survey(
    archive: &File,
    jobs: usize,
    add: &mut dyn FnMut(Segment),
    is_stopped: &dyn Fn() -> bool,
) -> Result<Whole> {
    let mut entries = Entries::read(archive, None, jobs, false, is_stopped)?;
    let mut buffer = vec![0; READ_BYTES];
    while let Some(entry) = entries.next_entry()? {
        add(entry.to_segment());
        let mut content = entries.content();
        while !is_stopped() && content.read(&mut buffer)? > 0 {}
        ensure!(!is_stopped(), "interrupted");
    }
    let whole = entries.into_input().whole();
    whole.context("it cannot be read to its end")
}
