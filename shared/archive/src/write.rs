//! Writing: turns the source tree into entries, and these into members.
//!
//! Knows no catalog.

pub(crate) mod content;
pub mod filter;
pub mod live;
pub(crate) mod members;
pub mod observer;
pub(crate) mod output;
pub mod parent;
pub(crate) mod piece;
pub mod place;
pub mod problem;
pub(crate) mod source;
pub mod stream;
pub(crate) mod tree;
pub mod walk;
pub mod writer;
