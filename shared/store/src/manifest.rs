//! Manifests: a Parquet file for each archive, named for the archive's hash.
//!
//! A cache: what is missing is made anew from the archive, and what belongs to no record is swept away
//! by the next writer. `table` is its columns, `columns` has entries as such; `writer` writes one through a
//! `stream`, `reader` reads it, `search` looks for entries in it, `sweep` removes what nobody needs. Knows
//! no archive format.

use std::fs::File;
use std::io;

use crate::home::Home;

mod columns;
pub mod reader;
pub mod search;
pub(crate) mod stream;
pub(crate) mod sweep;
pub(crate) mod table;
pub mod writer;

pub use table::FROM_ARCHIVE;

/// The file of a manifest, to be copied elsewhere; `None` where there is none.
///
/// # Errors
/// Those of the file system.
pub fn file(home: &Home, archive_hash: &str) -> io::Result<Option<File>> {
    table::open(&table::path(home, archive_hash))
}
