//! Excludes that match nothing: often they were meant otherwise.
//!
//! Walks nothing.

use std::collections::{HashMap, HashSet};

use bk_archive::write::filter::Filter;
use bk_schema::excludes::Excludes;

use crate::flags::{EXCLUDE, EXCLUDE_IF_PRESENT, PROGRAM};

/// What of the excludes of a backup matches nothing.
#[derive(Debug, Default)]
pub(crate) struct Unmatched {
    globs: Vec<String>,
    markers: Vec<String>,
}

impl Unmatched {
    /// Whether any of them can match nothing. A limit of the size is no mistake where it leaves out none.
    pub(crate) fn can_be(excludes: &Excludes) -> bool {
        !excludes.globs.is_empty() || !excludes.if_present.is_empty()
    }

    /// What has matched nothing in a walk.
    pub(crate) fn of(filter: &Filter) -> Self {
        Self {
            globs: filter.unmatched_globs().map(str::to_owned).collect(),
            markers: filter.unmatched_markers().map(str::to_owned).collect(),
        }
    }

    /// For the record: first the globs.
    pub(crate) fn all(&self) -> Vec<String> {
        [&self.globs[..], &self.markers].concat()
    }
}

/// What matched nothing in any of the backups that it was given for.
#[derive(Debug, Default)]
pub(crate) struct InAll {
    globs: Texts,
    markers: Texts,
}

/// Texts, each with its number and whether it matched something.
#[derive(Debug, Default)]
struct Texts(HashMap<String, (usize, bool)>);

impl InAll {
    pub(crate) fn add(&mut self, excludes: &Excludes, unmatched: &Unmatched) {
        self.globs.add(&excludes.globs, &unmatched.globs);
        self.markers.add(&excludes.if_present, &unmatched.markers);
    }

    pub(crate) fn warn(&self) {
        self.globs.warn(EXCLUDE.long);
        self.markers.warn(EXCLUDE_IF_PRESENT.long);
    }
}

impl Texts {
    fn add(&mut self, given: &[String], unmatched: &[String]) {
        let unmatched: HashSet<_> = unmatched.iter().collect();
        for text in given {
            let new = (self.0.len(), false);
            let (_, has_matched) = self.0.entry(text.clone()).or_insert(new);
            *has_matched |= !unmatched.contains(text);
        }
    }

    fn warn(&self, flag: &str) {
        let unmatched = self.0.iter().filter(|(_, (_, has_matched))| !has_matched);
        let mut unmatched: Vec<_> = unmatched
            .map(|(text, (number, _))| (number, text))
            .collect();
        unmatched.sort();
        let unmatched: Vec<_> = unmatched
            .iter()
            .map(|(_, text)| format!("'{text}'"))
            .collect();
        if !unmatched.is_empty() {
            let unmatched = unmatched.join(", ");
            PROGRAM.warn(&format!("warning: --{flag} {unmatched} matched nothing"));
        }
    }
}
