//! The outcome of a restoration.
//!
//! Knows no archive and no target.

use std::path::PathBuf;

/// The outcome of a restoration.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// Whether something is missing as the archive is damaged.
    pub(crate) is_damaged: bool,
    /// Entries that could not be made.
    pub(crate) failed_count: u64,
    /// The targets, each with the path where its old content is kept.
    pub(crate) placed: Vec<(PathBuf, Option<PathBuf>)>,
}

impl Outcome {
    /// A sentence on what was not restored; `None` where all was.
    pub(crate) fn lack(&self, name: &str) -> Option<String> {
        match self.failed_count {
            _ if self.is_damaged => Some(format!(
                "'{name}' is damaged: only its undamaged part was restored"
            )),
            0 => None,
            count => Some(format!(
                "'{name}' was restored without {count} of its entries, which cannot be made"
            )),
        }
    }
}
