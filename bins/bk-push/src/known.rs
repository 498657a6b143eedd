//! The copies that the catalog knows of at a location, of all backups or of some, with the records that are
//! still there: what is checked and removed.
//!
//! Asks no location.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use bk_cli::listing::Listed;
use bk_cli::{Cell, listing};
use bk_offsite::sidecars::Keys;
use bk_schema::copy::BackupCopy;
use bk_schema::lines::Line;
use bk_schema::record::Backup;
use bk_store::{Home, catalog};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::flags::PROGRAM;

/// A copy, and the record that it is of, where that is still there.
pub(crate) struct Known {
    pub(crate) copy: BackupCopy,
    pub(crate) backup: Option<Backup>,
    pub(crate) line: Map<String, Value>,
}

/// The copies of these backups at a location; `None` means all that are known there. A backup that has none is an
/// error of its own, reported.
///
/// # Errors
/// Those of the catalog; where all are meant, a record that is damaged.
pub(crate) fn find(
    home: &Home,
    location: &str,
    lines: Option<Vec<Line>>,
    status: &mut u8,
) -> Result<Vec<Known>> {
    let is_all = lines.is_none();
    let (copies, found) = catalog::read(home, |session| {
        Ok((session.copies_at(location)?, session.found(lines)?))
    })?;
    let copies: Vec<_> = PROGRAM.report_errors(copies, status).collect();
    if is_all {
        // A record that cannot be read is not gone.
        let records: Vec<_> = found.into_iter().collect::<Result<_>>()?;
        let records = records.into_iter().map(|(backup, _)| (backup.id, backup));
        let mut records: HashMap<_, _> = records.collect();
        let known = |copy: BackupCopy| Known {
            backup: records.remove(&copy.backup_id),
            copy,
            line: Map::new(),
        };
        return Ok(copies.into_iter().map(known).collect());
    }
    let mut copies: HashMap<_, _> = copies.into_iter().map(|it| (it.backup_id, it)).collect();
    let (mut known, mut seen) = (Vec::new(), HashSet::new());
    let found: Vec<_> = PROGRAM.report_errors(found, status).collect();
    for (backup, line) in found {
        if !seen.insert(backup.id) {
            continue;
        }
        let Some(copy) = copies.remove(&backup.id) else {
            let name = backup.backup_name.escape_debug();
            PROGRAM.warn(&format!("'{name}' has no copy at '{location}'"));
            *status = bk_cli::SOME_FAILED;
            continue;
        };
        known.push(Known {
            copy,
            backup: Some(backup),
            line,
        });
    }
    Ok(known)
}

/// A line of output: the record, or what the copy tells of one that is gone.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Told {
    Record(Box<Listed>),
    Gone(Value),
}

impl Known {
    /// The line, with what became of the copy.
    pub(crate) fn told(self, home: &Home, copy: Value) -> Told {
        match self.backup {
            Some(backup) => {
                let listed = Listed::stat(home, backup).with([("copy", copy)], self.line);
                Told::Record(Box::new(listed))
            }
            None => Told::Gone(json!({
                "id": self.copy.backup_id,
                "backup_name": self.copy.backup_name,
                "copy": copy,
            })),
        }
    }

    /// The cell SOURCE.
    pub(crate) fn source(&self) -> Cell {
        match &self.backup {
            Some(backup) => listing::source_cell(backup),
            None => self.copy.backup_name.clone().into(),
        }
    }

    /// The keys of what lies beside the archive.
    pub(crate) fn beside(&self) -> [String; 2] {
        let keys = Keys::of_archive(&self.copy.object_key);
        [keys.manifest, keys.record]
    }
}
