//! Backups as series of gzip members that hold one POSIX pax tar stream.
//!
//! `pax` is the records of an extended header, `member` one gzip member. Knows paths and
//! streams; knows no catalog.

pub mod member;
pub mod pax;
