//! What a restoration came to, and what it lacks.
//!
//! Knows no archive and no target.

use std::path::PathBuf;

/// What a restoration came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// Whether something was lost, as the archive is damaged.
    pub(crate) is_damaged: bool,
    /// Entries that could not be made.
    pub(crate) failed_count: u64,
    pub(crate) placed: Vec<(PathBuf, Option<PathBuf>)>,
}

impl Outcome {
    /// What it lacks, for people; `None` where all of the backup was restored.
    pub(crate) fn lack(&self, name: &str) -> Option<String> {
        match self.failed_count {
            _ if self.is_damaged => Some(format!(
                "'{name}' is damaged: what is whole of it was restored"
            )),
            0 => None,
            count => Some(format!(
                "'{name}' was restored without {count} of its entries, which cannot be made"
            )),
        }
    }
}
