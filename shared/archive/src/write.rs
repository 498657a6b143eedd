//! Writing: the source tree as entries, the entries as members.
//!
//! Knows no catalog.

pub(crate) mod content;
pub(crate) mod members;
pub mod place;
pub mod problem;
pub(crate) mod source;
pub mod stream;
pub mod walk;
pub mod writer;
