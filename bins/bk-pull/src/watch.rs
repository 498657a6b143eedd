//! Observes a restoration: shows progress on stderr, and tells what is left out.
//!
//! Knows no catalog.

use std::cell::Cell;

use bk_archive::restore::extract::Observer;
use bk_cli::Progress;
use bk_store::Signals;

use crate::flags::PROGRAM;

/// Observes one restoration.
pub(crate) struct Watch {
    signals: Signals,
    pub(crate) progress: Progress,
    skipped_count: Cell<u64>,
}

impl Watch {
    pub(crate) fn new(signals: &Signals) -> Self {
        Self {
            signals: signals.clone(),
            progress: Progress::new(&PROGRAM),
            skipped_count: Cell::new(0),
        }
    }

    /// How many entries, or attributes of entries, were not restored.
    pub(crate) fn skipped_count(&self) -> u64 {
        self.skipped_count.get()
    }

    fn skip(&self, name: &[u8], what: &str) {
        let name = String::from_utf8_lossy(name);
        let text = format!("warning: '{name}': not restored: {what}");
        self.progress.warn(&text);
        self.skipped_count.set(self.skipped_count.get() + 1);
    }
}

impl Observer for Watch {
    fn restored_bytes(&self, _: u64) {
        // Their way here takes the time.
    }

    fn skipped(&self, name: &[u8], what: &str) {
        self.skip(name, what);
    }

    fn noted(&self, what: &str) {
        self.progress.warn(&format!("note: {what}"));
    }

    fn unsupported(&self, name: &[u8], what: &str, why: &str) {
        self.skip(name, &format!("its {what}: {why}"));
    }

    fn is_stopped(&self) -> bool {
        self.signals.caught().is_some()
    }
}
