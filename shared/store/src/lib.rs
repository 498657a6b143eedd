//! The home: the catalog, the archive files, and what keeps both true.
//!
//! - `home`: where the catalog is; `lock`: many readers or one writer, by `flock`
//! - `catalog`: reads and writes it, one session at a time
//! - `engine`: the DuckDB of the process
//! - `session`: the transaction; its queries in `backups`, `copies`, `rows`, `ledger`, `history`,
//!   `storage_table`, `trust`
//! - `version`: makes and upgrades a catalog; `working_copy`: one whose path DuckDB does not take
//! - `recovery`: completes or rolls back what dead processes left
//! - `parts`: sessions and work on files in turn, for many records; `removal`: of archives, then
//!   records
//! - `manifest`: what an archive holds, as a table: its `table`, `columns`, `stream`, `writer`, `reader`,
//!   `search` and `sweep`
//! - `record_list`: records as a Parquet file that lies elsewhere
//! - `storage`: whether what holds archives is there; `own`: what is bk's own and in no backup
//! - `archives`: archives as files: `advisory_lock`, `partial`, `open`, `durable`, `early_sync`, `distinct`,
//!   `share`, `space`, `spare`, `mounts`
//! - `signals`: what ends a program in good order
//!
//! Knows no archive format, no command line and no terminal.
//!
//! ```no_run
//! use bk_store::{Home, catalog};
//!
//! let dir = std::env::temp_dir().join("bk-no-such-home");
//! let home = Home::new(dir, "example", bk_schema::clock::now(), |_, _| {});
//! let error = catalog::read(&home, |session| session.backups()).unwrap_err();
//! assert!(error.to_string().starts_with("there is no catalog"));
//! ```

pub mod archives;
pub mod backups;
pub mod catalog;
pub mod copies;
mod engine;
pub mod flock;
pub mod history;
pub mod home;
pub mod ledger;
pub mod lock;
pub mod manifest;
pub mod own;
pub mod parts;
pub mod record_list;
mod recovery;
pub mod removal;
pub mod rows;
pub mod session;
pub mod signals;
pub mod storage;
mod storage_table;
pub mod trust;
mod version;
mod working_copy;

pub use home::Home;
pub use session::Session;
pub use signals::Signals;
