//! The state of a run, which adopting and relinking share, and when its findings are recorded.
//!
//! Knows no archive's content.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::Result;
use bk_cli::output::Output;
use bk_schema::event::Event;
use bk_schema::record::{Backup, Status};
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::rows::BadRow;
use bk_store::session::Session;
use bk_store::signals::Signals;

use crate::find::Inode;
use crate::outcome::{Outcome, Reporter};

/// The records as they are in the catalog.
pub(crate) type Rows = Vec<Result<Backup, BadRow>>;

/// Findings are recorded and reported together, at least this often.
const RECORD_EVERY: Duration = Duration::from_secs(2);
/// Before a larger archive is read, what was found so far is recorded and reported.
const LARGE_BYTES: u64 = 64 << 20;

/// A run: archives are read one after the other, and now and then what was found is recorded and
/// reported.
pub(crate) struct Work<'a> {
    pub(crate) home: &'a Home,
    pub(crate) is_dry: bool,
    pub(crate) signals: Signals,
    pub(crate) report: Reporter,
    recorded_at: Instant,
}

impl<'a> Work<'a> {
    pub(crate) fn new(home: &'a Home, is_dry: bool, output: Output) -> Result<Self> {
        Ok(Self {
            home,
            is_dry,
            signals: Signals::watch()?,
            report: Reporter::new(home, output),
            recorded_at: Instant::now(),
        })
    }

    /// Whether to record before an archive of this size is read.
    pub(crate) fn is_time_to_record(&self, next_bytes: u64) -> bool {
        !self.is_dry && (next_bytes > LARGE_BYTES || self.recorded_at.elapsed() >= RECORD_EVERY)
    }

    /// Records in one session, then reports.
    pub(crate) fn record(
        &mut self,
        record: impl FnOnce(&Session<'_>) -> Result<Vec<Result<Outcome>>>,
    ) -> Result<()> {
        if self.signals.caught().is_none() {
            // A signal may end the wait for the catalog.
            self.signals.release();
        }
        let all = catalog::write(self.home, |session| {
            self.signals.hold();
            record(session)
        });
        self.recorded_at = Instant::now();
        self.report.add_all(all?)
    }
}

/// Whether the record is that of an attempt that was not completed; its archive may be complete.
pub(crate) fn is_unfinished(backup: &Backup) -> bool {
    matches!(backup.status, Status::Creating | Status::Failed)
}

/// The records by the files that they point to. A completed record takes precedence.
pub(crate) fn by_inode(rows: &Rows) -> HashMap<Inode, Backup> {
    let mut known = HashMap::new();
    for backup in rows.iter().flatten() {
        if let Ok(file) = std::fs::metadata(&backup.backup_path) {
            let inode = (file.dev(), file.ino());
            if !is_unfinished(backup) || !known.contains_key(&inode) {
                known.insert(inode, backup.clone());
            }
        }
    }
    known
}

pub(crate) fn log(session: &Session<'_>, outcome: &Outcome) -> Result<()> {
    session.log(&Event {
        backup: Some((outcome.record.id, &outcome.record.backup_name)),
        event: "adopt",
        ok: true,
        details: outcome.details(),
    })
}
