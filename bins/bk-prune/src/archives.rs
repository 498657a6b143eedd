//! Where the archives are, what they take there, and what is free: asked before the policy decides,
//! never while the catalog is held.
//!
//! Opens no archive.

use std::collections::btree_map::Entry;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use bk_schema::record::{Backup, Status};
use bk_store::archives::space::Space;
use bk_store::home::Home;
use bk_store::storage::Unreachable;

use crate::caps::FreeBytes;
use crate::flags::PROGRAM;
use crate::retention::Archive;

/// stat(2) counts the space of a file in these, whatever the file system's own blocks.
const BLOCK_BYTES: u64 = 512;

/// The archive of a completed backup; `None` where there is none.
///
/// # Errors
/// [`Unreachable`], where that cannot be told.
pub(crate) fn stat(home: &Home, backup: &Backup) -> Result<Option<Archive>, Unreachable> {
    let found = home.storages.stat(backup.backup_path.as_ref())?;
    let is_archive = |it: &Metadata| it.is_file() && backup.status == Status::Completed;
    Ok(found.filter(is_archive).map(|it| Archive {
        file_system: it.dev(),
        disk_bytes: it.blocks().saturating_mul(BLOCK_BYTES),
    }))
}

/// What is free where the archives are.
pub(crate) fn free<'a>(
    all: impl Iterator<Item = (&'a Backup, Option<Archive>)>,
) -> Result<FreeBytes> {
    let mut free = FreeBytes::new();
    for (backup, archive) in all {
        let Some(archive) = archive else { continue };
        if let Entry::Vacant(entry) = free.entry(archive.file_system) {
            match Space::at(Path::new(&backup.backup_path))? {
                Some(space) => drop(entry.insert(space.available_bytes)),
                // Nothing says that space is wanted there.
                None => PROGRAM.warn(&format!(
                    "warning: --keep-free is not heeded where '{}' is: the file system does not tell its free space",
                    backup.backup_path
                )),
            }
        }
    }
    Ok(free)
}
