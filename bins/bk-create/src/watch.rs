//! Observes the writing of a backup: shows progress on stderr, and collects the problems.
//!
//! Knows no catalog.

use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, OnceLock, PoisonError};

use bk_archive::write::observer::Observer;
use bk_archive::write::problem::Problem;
use bk_cli::output::base64;
use bk_cli::progress::Progress;
use bk_schema::metadata::PROBLEMS;
use bk_store::signals::Signals;
use serde_json::{Map, Value, json};

use crate::flags::PROGRAM;

/// So many problems are listed in the record; all are reported on stderr.
const LISTED_PROBLEMS: usize = 100;
/// So many losses are listed in the ledger, which outlives the record.
const LOGGED_LOSSES: usize = 10;

/// Observes the writing of one backup.
pub(crate) struct Watch {
    pub(crate) signals: Signals,
    pub(crate) progress: Progress,
    problems: Mutex<Problems>,
    /// The name of the parent.
    parent: OnceLock<String>,
}

/// Sources that were not read, or not as they should be.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    listed: Vec<Value>,
    /// How many of those listed are losses; they come first.
    listed_losses: usize,
    /// Listed or not.
    pub(crate) count: u64,
    /// Those that leave something out of the archive that was there.
    pub(crate) loss_count: u64,
    /// Why the parent could not be used further.
    parent_lost: Option<String>,
}

impl Watch {
    pub(crate) fn new(signals: Signals) -> Self {
        Self {
            signals,
            progress: Progress::new(&PROGRAM),
            problems: Mutex::default(),
            parent: OnceLock::new(),
        }
    }

    /// Shows the progress bar.
    pub(crate) fn begin(&self, content_bytes: u64, file_count: u64) {
        self.progress
            .begin_counting(content_bytes, file_count, "files");
    }

    /// Notes the backup of which something may be taken over.
    pub(crate) fn set_parent(&self, name: &str) {
        self.parent.get_or_init(|| name.to_owned());
    }

    /// Prints a line on stderr, above the bar.
    pub(crate) fn warn(&self, text: &str) {
        self.progress.warn(text);
    }

    /// Removes the bar, and returns the problems.
    pub(crate) fn end(self) -> Problems {
        self.progress.end();
        self.problems
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Problems {
    /// Adds them to the metadata of a record: the first hundred, losses before others.
    pub(crate) fn put(&self, metadata: &mut Map<String, Value>) {
        if self.count > 0 {
            metadata.insert("problem_count".into(), self.count.into());
            metadata.insert("loss_count".into(), self.loss_count.into());
            metadata.insert(PROBLEMS.into(), self.listed.clone().into());
        }
    }

    /// Adds them to the details of an event.
    pub(crate) fn log(&self, details: &mut Value) {
        details["problem_count"] = self.count.into();
        let count = self.listed_losses.min(LOGGED_LOSSES);
        details["unread"] = self.listed[..count].into();
        if let Some(reason) = &self.parent_lost {
            details["parent_lost"] = reason.clone().into();
        }
    }

    fn add(&mut self, problem: &Problem) {
        self.count += 1;
        let is_loss = problem.kind.is_loss();
        self.loss_count += u64::from(is_loss);
        if is_loss || self.listed.len() < LISTED_PROBLEMS {
            let mut value = json!({
                "path": problem.path.to_string_lossy(),
                "kind": problem.kind.name(),
                "reason": bk_cli::one_line(&problem.reason),
            });
            if problem.path.to_str().is_none() {
                value["path_base64"] = base64(problem.path.as_os_str().as_bytes()).into();
            }
            let at = if is_loss {
                self.listed_losses
            } else {
                self.listed.len()
            };
            self.listed.insert(at, value);
            self.listed.truncate(LISTED_PROBLEMS);
            let listed_losses = self.listed_losses + usize::from(is_loss);
            self.listed_losses = listed_losses.min(LISTED_PROBLEMS);
        }
    }
}

impl Observer for Watch {
    fn problem(&self, problem: Problem) {
        let what = if problem.kind.is_loss() {
            "cannot read"
        } else {
            "warning:"
        };
        self.warn(&format!(
            "{what} '{}': {}",
            problem.path.display(),
            problem.reason
        ));
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.add(&problem);
    }

    fn parent_lost(&self, reason: &str) {
        let name = self.parent.get().map_or("", String::as_str);
        let reason = format!("'{name}' is no parent any more: {reason}");
        self.warn(&format!("warning: {reason}; the sources are read instead"));
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.parent_lost = Some(reason);
    }

    fn read_bytes(&self, bytes: u64) {
        self.progress.add(bytes);
    }

    fn read_file(&self) {
        self.progress.count();
    }

    fn is_stopped(&self) -> bool {
        self.signals.caught().is_some()
    }
}
