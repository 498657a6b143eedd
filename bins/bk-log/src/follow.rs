//! Waits for rows that are added to the ledger.
//!
//! A look at the files of the catalog tells whether anybody wrote, so that a catalog that is at
//! rest is never opened, and no writer waits for those who watch.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::Result;
use bk_cli::output::Output;
use bk_store::home::Home;
use bk_store::lock::Timeout;

use crate::ledger::{Ledger, Page};

/// Between two looks; also how long one waits for the catalog before it asks whether its reader
/// is still there.
const INTERVAL: Duration = Duration::from_secs(1);

/// What changes when the catalog is written to.
#[derive(Debug, PartialEq)]
pub(crate) struct Stamp([Option<(u64, u64, i64, i64)>; 2]);

impl Stamp {
    /// To be taken before the reading that it is to stand for.
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

/// The next rows, `None` when the reader is gone. A catalog that stays locked is asked again.
///
/// # Errors
/// Those of the catalog, and of the output.
pub(crate) fn next(
    ledger: &mut Ledger,
    output: &mut Output,
    last: &mut Stamp,
) -> Result<Option<Page>> {
    let home = ledger.home();
    home.lock_timeout = home.lock_timeout.min(INTERVAL);
    loop {
        output.wait(INTERVAL)?;
        if output.is_gone() {
            return Ok(None);
        }
        let stamp = Stamp::take(ledger.home());
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
