//! The outcome of a restoration.
//!
//! Knows no archive and no target.

use std::path::PathBuf;

use bk_archive::restore::extract::Extracted;

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
    /// The sum of what was extracted.
    pub(crate) fn of<'a>(all: impl IntoIterator<Item = &'a Extracted>) -> Self {
        let mut sum = Self::default();
        for done in all {
            sum.entries += done.entries;
            sum.bytes += done.bytes;
            sum.is_damaged |= done.is_damaged;
            sum.failed_count += done.failed_count;
        }
        sum
    }

    /// A sentence on what was not restored; `None` where all was. `absent` is what was asked for and is
    /// not in the backup.
    pub(crate) fn lack(&self, name: &str, absent: &[String]) -> Option<String> {
        let failed = match self.failed_count {
            _ if self.is_damaged => Some(format!(
                "'{name}' is damaged: only its undamaged part was restored"
            )),
            0 => None,
            count => Some(format!(
                "'{name}' was restored without {count} of its entries, which cannot be made"
            )),
        };
        let absent =
            (!absent.is_empty()).then(|| format!("'{name}' holds no '{}'", absent.join("', '")));
        let all: Vec<_> = failed.into_iter().chain(absent).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}
