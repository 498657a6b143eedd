//! Backups as series of gzip members that hold one POSIX pax tar stream.
//!
//! `entry` is what a header tells, `header` its bytes, `pax` the records of an extended header,
//! `member` one gzip member, `walk` the source tree in its order. Knows paths and
//! streams; knows no catalog.

pub mod entry;
pub mod header;
pub mod member;
pub mod pax;
pub mod walk;
