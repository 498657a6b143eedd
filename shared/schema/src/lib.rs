//! The contract: what the programs of bk agree on.
//!
//! - `record`: the record of one backup, and the rules it keeps
//! - `copy`: a copy of a backup elsewhere
//! - `event`: the ledger's rows
//! - `lines`: records, identities and events as JSON lines
//! - `birth`: the part of a record that its archive carries
//! - `metadata`: the keys that bk reserves, and `KEY=VALUE` pairs
//! - `dump`: files that come from commands; `entry_name`: names of entries, made plain
//! - `excludes`: what a backup leaves out of its sources
//! - `verified`, `losses`, `moving`, `host`: typed access to single keys of the metadata
//! - `clock`: which times are plausible
//! - `globs`: patterns for names of entries and of backups; `pattern` is one of them
//! - `visible`: text with control characters escaped
//! - `manifest`: the entries of an archive, and which bytes of it hold them
//! - `invalid`: the wording for a value that cannot be used
//! - `migrations`: the catalog's versions, as SQL
//!
//! Knows no DuckDB, no terminal and no file.
//!
//! ```
//! use bk_schema::lines::read_identities;
//!
//! let lines = read_identities(&b"{\"id\":7}\n\"nightly-3\"\n"[..])?;
//! assert_eq!(lines[0].identity.id, Some(7));
//! assert_eq!(lines[1].identity.name.as_deref(), Some("nightly-3"));
//! # anyhow::Ok(())
//! ```

pub mod birth;
pub mod clock;
pub mod copy;
pub mod dump;
pub mod entry_name;
pub mod event;
pub mod excludes;
pub mod globs;
pub mod host;
pub mod invalid;
pub mod lines;
pub mod losses;
pub mod manifest;
pub mod metadata;
pub mod migrations;
pub mod moving;
mod pattern;
pub mod record;
pub mod verified;
pub mod visible;
