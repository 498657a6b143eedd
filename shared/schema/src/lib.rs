//! What the programs of bk must agree on.
//!
//! `record` is the one type that is serialised, `lines` carries it through pipes, `catalog`
//! keeps it, `lock` guards the catalog, `cli` is the command line. This crate opens no archive.

pub mod units;
