//! Waits for new rows in the ledger.
//!
//! Polls the catalog files with stat(2) and opens the catalog only if they changed, so that
//! followers do not make writers wait.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::Result;
use bk_cli::Output;
use bk_store::Home;
use bk_store::lock::Timeout;

use crate::ledger::{Ledger, Page};

/// Time between two polls; also the longest wait for the catalog's lock before the pipe is checked
/// again.
const INTERVAL: Duration = Duration::from_secs(1);

/// Inode, size and mtime of the catalog and its WAL, which change with every write.
#[derive(Debug, PartialEq)]
pub(crate) struct Stamp([Option<(u64, u64, i64, i64)>; 2]);

impl Stamp {
    /// To be taken before the catalog is read.
    pub(crate) fn take(home: &Home) -> Self {
        let catalog = home.catalog();
        let stamp = |it: Metadata| (it.ino(), it.len(), it.mtime(), it.mtime_nsec());
        let of = |extension| {
            let path = catalog.with_extension(extension);
            path.metadata().ok().map(stamp)
        };
        Self(["duckdb", "duckdb.wal"].map(of))
    }
}

/// The next rows; `None` once the pipe is closed. Retries while the catalog is locked.
pub(crate) fn next(
    ledger: &mut Ledger,
    output: &mut Output,
    last: &mut Stamp,
) -> Result<Option<Page>> {
    let home = &mut ledger.home;
    home.lock_timeout = home.lock_timeout.min(INTERVAL);
    loop {
        output.wait(INTERVAL)?;
        if output.is_closed() {
            return Ok(None);
        }
        let stamp = Stamp::take(&ledger.home);
        if stamp == *last {
            continue;
        }
        match ledger.next() {
            Ok(page) => {
                *last = stamp;
                if !page.is_empty() {
                    return Ok(Some(page));
                }
            }
            Err(error) if error.is::<Timeout>() => {}
            Err(error) => return Err(error),
        }
    }
}
