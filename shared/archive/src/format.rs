//! The format: entries, their headers, and the members that hold them.
//!
//! Bytes, and how a file of them begins and ends.

pub(crate) mod acl;
pub mod codec;
pub mod damage;
pub(crate) mod decode;
pub mod entry;
pub(crate) mod frame;
pub mod header;
pub mod member;
pub mod notes;
pub mod pax;
pub(crate) mod seek_table;
pub(crate) mod sparse;
