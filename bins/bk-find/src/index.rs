//! How the manifest of a backup is made that has none.
//!
//! Knows no name that is looked for.

use anyhow::Result;
use bk_archive::read::survey::survey;
use bk_archive::{hashed, threads};
use bk_schema::manifest::Segment;
use bk_schema::record::Backup;
use bk_store::archives::open::open;

/// Reads an archive to its end: its entries, its hash and its bytes.
pub(crate) fn read(backup: &Backup, add: &mut dyn FnMut(Segment)) -> Result<(String, u64)> {
    let file = open(backup, hashed::open)?;
    let whole = survey(&file, threads::available(), add, &|| false)?;
    Ok((whole.hash, whole.bytes))
}
