//! Observes a restoration: shows progress on stderr, and collects what is left out.
//!
//! Knows no catalog.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bk_archive::restore::extract::Observer;
use bk_cli::output::base64;
use bk_cli::progress::Progress;
use bk_store::signals::Signals;
use serde_json::{Value, json};

use crate::flags::PROGRAM;

/// So many entries are listed in the line; all are reported on stderr.
const LISTED: usize = 100;

/// Observes one restoration.
pub(crate) struct Watch {
    signals: Signals,
    pub(crate) progress: Progress,
    skipped: RefCell<Skipped>,
}

/// What was not restored.
#[derive(Debug, Default, Clone)]
pub(crate) struct Skipped {
    pub(crate) count: u64,
    pub(crate) listed: Vec<Value>,
    /// Attributes that the file system cannot store, and of how many entries.
    pub(crate) unsupported: BTreeMap<String, u64>,
    /// Paths of lines that the backup does not hold.
    pub(crate) absent: Vec<String>,
}

impl Watch {
    pub(crate) fn new(signals: &Signals) -> Self {
        Self {
            signals: signals.clone(),
            progress: Progress::new(&PROGRAM),
            skipped: RefCell::default(),
        }
    }

    pub(crate) fn begin(&self, total_bytes: u64, what: &'static str) {
        self.progress.begin(total_bytes, what);
    }

    pub(crate) fn warn(&self, text: &str) {
        self.progress.warn(text);
    }

    /// A path of a line is not in the backup.
    pub(crate) fn absent(&self, path: &str) {
        self.skipped.borrow_mut().absent.push(path.to_owned());
    }

    /// Removes the bar, and returns what was left out.
    pub(crate) fn end(&self) -> Skipped {
        self.progress.end();
        self.skipped.take()
    }
}

impl Observer for Watch {
    fn restored_bytes(&self, bytes: u64) {
        self.progress.add(bytes);
    }

    fn skipped(&self, name: &[u8], what: &str) {
        let shown = String::from_utf8_lossy(name);
        self.warn(&format!("warning: '{shown}': not restored: {what}"));
        let mut skipped = self.skipped.borrow_mut();
        skipped.count += 1;
        if skipped.listed.len() < LISTED {
            let mut value = json!({ "path": shown, "reason": bk_cli::one_line(what) });
            if str::from_utf8(name).is_err() {
                value["path_base64"] = base64(name).into();
            }
            skipped.listed.push(value);
        }
    }

    fn noted(&self, what: &str) {
        self.warn(&format!("note: {what}"));
    }

    fn unsupported(&self, name: &[u8], what: &str, why: &str) {
        let mut skipped = self.skipped.borrow_mut();
        let count = skipped.unsupported.entry(what.to_owned()).or_default();
        *count += 1;
        if *count == 1 {
            let shown = String::from_utf8_lossy(name);
            self.warn(&format!(
                "warning: '{shown}': its {what} is not restored: {why}; others of the kind are counted, not named"
            ));
        }
    }

    fn is_stopped(&self) -> bool {
        self.signals.caught().is_some()
    }
}
