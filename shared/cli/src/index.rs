//! The manifests that a program reads: those that are there, and those that are missing, which are made
//! from the archives.
//!
//! Knows no archive format: the caller says how one is read.

use anyhow::{Context, Result, anyhow};
use bk_schema::manifest::Segment;
use bk_schema::record::Backup;
use bk_store::home::Home;
use bk_store::manifest::search::{check_home, is_usable};
use bk_store::manifest::writer::make_anew;

use crate::copies;
use crate::flags::Program;
use crate::progress::Progress;

/// Reads the archive of a backup to its end: gives all its entries, and returns its hash and its bytes.
pub type Survey = fn(&Backup, &mut dyn FnMut(Segment)) -> Result<(String, u64)>;

/// The backups that have a manifest in the end, in their order. Where none is to be made, those that have
/// none are left out, with a warning.
///
/// A manifest that cannot be made is reported, and changes the `status`.
///
/// # Errors
/// A home that may have no manifests.
pub fn complete(
    program: &'static Program,
    home: &Home,
    backups: Vec<Backup>,
    survey: Option<Survey>,
    status: &mut u8,
) -> Result<Vec<Backup>> {
    check_home(home)?;
    let (mut indexed, missing): (Vec<_>, Vec<_>) =
        backups.into_iter().partition(|it| has(home, it));
    if missing.is_empty() {
        return Ok(indexed);
    }
    let Some(survey) = survey else {
        let (count, verb) = match missing.len() {
            1 => ("1 backup".to_owned(), "is"),
            count => (format!("{count} backups"), "are"),
        };
        program.warn(&format!(
            "{count} {verb} left out: the archive would have to be read"
        ));
        return Ok(indexed);
    };
    let progress = Progress::new(program);
    let sizes = missing.iter().filter_map(|it| it.backup_size);
    progress.begin_counting(sizes.sum(), missing.len() as u64, "archives");
    for backup in missing {
        if let Some(obstacle) = copies::remote_obstacle(home, &backup) {
            let name = backup.backup_name.escape_debug();
            *status = program.report(&anyhow!("cannot read '{name}': {obstacle}"));
            progress.count();
            continue;
        }
        let made = make_anew(home, &backup, |add| {
            let cannot = || format!("cannot read '{}'", backup.backup_path.escape_debug());
            let (hash, bytes) = survey(&backup, add).with_context(cannot)?;
            progress.add(bytes);
            Ok(hash)
        });
        match made {
            Ok(()) => indexed.push(backup),
            Err(error) => *status = program.report(&error),
        }
        progress.count();
    }
    progress.end();
    indexed.sort_by_key(|it| (it.created_at, it.id));
    Ok(indexed)
}

/// Whether a backup has a manifest.
fn has(home: &Home, backup: &Backup) -> bool {
    let hash = backup.backup_metadata.get("manifest_hash");
    let hash = hash.and_then(|it| it.as_str());
    let archive_hash = backup.backup_hash.as_deref();
    archive_hash.is_some_and(|archive_hash| is_usable(home, archive_hash, hash))
}
