//! Reading: decompresses members, parses entries, and checks both.
//!
//! Knows no catalog.

pub(crate) mod blocks;
pub mod check;
mod cutter;
pub mod entries;
mod frames;
pub(crate) mod holes;
pub mod inflate;
pub mod last;
pub(crate) mod pieces;
pub mod reader;
pub(crate) mod salvage;
pub mod seek;
pub(crate) mod spans;
pub mod survey;
