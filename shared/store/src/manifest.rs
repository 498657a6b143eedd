//! Manifests: a Parquet file for each archive, named for the archive's hash.
//!
//! A cache: what is missing is made anew from the archive, and what belongs to no record is swept away
//! by the next writer. `table` is its columns, `columns` has entries as such; `writer` writes one through a
//! `stream`, `reader` reads it, `search` looks for entries in it, `sweep` removes what nobody needs. Knows
//! no archive format.

use std::fs::File;
use std::io;

use bk_schema::record::Backup;
use serde_json::Value;

use crate::home::Home;

mod columns;
pub mod reader;
pub mod search;
pub(crate) mod stream;
pub(crate) mod sweep;
pub(crate) mod table;
pub mod writer;

pub use table::FROM_ARCHIVE;

/// The file of a manifest as it was written with the archive, to be copied elsewhere; `None` where there is none with
/// this hash: one that was made anew tells no places, and one without a hash is believed by nobody.
///
/// # Errors
/// Those of the file system.
pub fn file(home: &Home, backup: &Backup) -> io::Result<Option<File>> {
    let hash = backup.backup_metadata.get("manifest_hash");
    let (Some(archive_hash), Some(hash)) = (&backup.backup_hash, hash.and_then(Value::as_str))
    else {
        return Ok(None);
    };
    let Some(file) = table::open(&table::path(home, archive_hash))? else {
        return Ok(None);
    };
    Ok((table::sha256(&file)? == hash).then_some(file))
}
