//! Manifests: a Parquet file for each archive, named for the archive's hash.
//!
//! A cache: what is missing is made anew from the archive, and what belongs to no record is swept away
//! by the next writer. `table` is its columns, `columns` has entries as such, `instance` is the DuckDB that
//! knows them; `writer` writes one through a `stream`, `reader` reads it, `sweep` removes what nobody
//! needs. Knows no archive format.

mod columns;
mod instance;
pub mod reader;
mod stream;
pub(crate) mod sweep;
mod table;
pub mod writer;

pub use table::FROM_ARCHIVE;
