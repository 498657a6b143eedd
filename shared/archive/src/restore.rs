//! Restoring: creates files from entries, below one directory and nowhere else.
//!
//! Knows no catalog.

pub mod attributes;
pub mod beneath;
pub mod compare;
pub(crate) mod copy;
pub(crate) mod deferred;
pub mod extract;
pub(crate) mod links;
pub mod names;
pub mod print;
pub mod remove;
pub mod rename;
pub(crate) mod room;
pub mod stage;
