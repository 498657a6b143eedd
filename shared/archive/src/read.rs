//! Reading: inflates members, parses entries, and checks both.
//!
//! Knows no catalog.

pub(crate) mod blocks;
pub mod check;
pub mod entries;
pub(crate) mod holes;
pub mod inflate;
pub mod last;
pub(crate) mod pieces;
pub mod reader;
pub(crate) mod salvage;
pub mod seek;
