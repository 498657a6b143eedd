//! Manifests: a Parquet file for each archive, named for the archive's hash.
//!
//! A cache: what is missing is made anew from the archive, and what belongs to no record is swept away
//! by the next writer. `table` is its columns and the connection that reads and writes it, `writer` writes
//! one, `reader` reads it, `sweep` removes what nobody needs. Knows no archive format.

pub mod reader;
pub(crate) mod sweep;
mod table;
pub mod writer;
