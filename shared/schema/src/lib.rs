//! What the programs of bk must agree on.
//!
//! `record` is the one type that is serialised, `lines` carries it through pipes, `catalog`
//! keeps it, `lock` guards the catalog, `cli` is the command line, `recovery` tidies after the dead, `units` reads sizes
//! and times. This crate opens no archive but to ask whether somebody is at work on it.

pub mod catalog;
pub mod cli;
pub mod lines;
pub mod lock;
mod migrations;
pub mod record;
pub mod recovery;
pub mod units;
