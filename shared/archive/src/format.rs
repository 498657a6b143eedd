//! The format: entries, their headers, and the gzip members that hold them.
//!
//! Bytes only: touches no file.

pub(crate) mod acl;
pub mod damage;
pub(crate) mod decode;
pub mod entry;
pub mod header;
pub mod member;
pub mod notes;
pub mod pax;
pub(crate) mod sparse;
