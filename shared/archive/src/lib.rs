//! Backups as series of gzip members that hold one POSIX pax tar stream.
//!
//! Knows paths and streams; knows no catalog.
