//! A backup that may be removed, with the line that it came by.
//!
//! Plain data: decides nothing.

use bk_schema::record::Backup;
use bk_store::storage::Unreachable;
use serde_json::{Map, Value};

use crate::retention::{Archive, Candidate};

/// A candidate as it was given, or found.
pub(crate) struct Given {
    pub(crate) backup: Backup,
    pub(crate) line: Map<String, Value>,
    pub(crate) archive: Option<Archive>,
    /// Why nobody can tell whether there is one.
    pub(crate) unreachable: Option<Unreachable>,
}

impl Given {
    pub(crate) fn candidate(&self) -> Candidate<'_> {
        Candidate {
            backup: &self.backup,
            archive: self.archive,
        }
    }
}
