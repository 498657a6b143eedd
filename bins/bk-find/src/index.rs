//! The manifests to look through: those that are there, and those that are missing, which are made from
//! the archives.
//!
//! Knows no name that is looked for.

use anyhow::{Context, Result};
use bk_archive::read::survey::survey;
use bk_archive::{hashed, threads};
use bk_cli::Progress;
use bk_schema::record::Backup;
use bk_store::archives;
use bk_store::home::Home;
use bk_store::manifest::search::is_usable;
use bk_store::manifest::writer::make_anew;
use bk_store::signals::Signals;

use crate::flags::PROGRAM;

/// The backups that have a manifest in the end, in their order.
pub(crate) fn all(
    home: &Home,
    backups: Vec<Backup>,
    is_left_out: bool,
    status: &mut u8,
) -> Result<Vec<Backup>> {
    let (mut indexed, missing): (Vec<_>, Vec<_>) =
        backups.into_iter().partition(|it| has(home, it));
    if missing.is_empty() {
        return Ok(indexed);
    }
    if is_left_out {
        let (count, verb) = match missing.len() {
            1 => ("1 backup".to_owned(), "is"),
            count => (format!("{count} backups"), "are"),
        };
        PROGRAM.warn(&format!(
            "{count} {verb} left out: the archive would have to be read"
        ));
        return Ok(indexed);
    }
    let signals = Signals::watch()?;
    let progress = Progress::new(&PROGRAM);
    let sizes = missing.iter().filter_map(|it| it.backup_size);
    progress.begin_counting(sizes.sum(), missing.len() as u64, "archives");
    for backup in missing {
        match make(home, &backup, &progress, &signals) {
            Ok(()) => indexed.push(backup),
            Err(error) => *status = PROGRAM.report(&error),
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

/// Makes the manifest of a backup from its archive.
///
/// # Errors
/// An archive that cannot be read or is another one, and a home that cannot be written to.
fn make(home: &Home, backup: &Backup, progress: &Progress, signals: &Signals) -> Result<()> {
    let cannot = || format!("cannot read '{}'", backup.backup_path.escape_debug());
    let file = archives::open::open(backup, hashed::open).with_context(cannot)?;
    let is_stopped = || signals.caught().is_some();
    make_anew(home, backup, |add| {
        let whole = survey(&file, threads::available(), add, &is_stopped).with_context(cannot)?;
        progress.add(whole.bytes);
        Ok(whole.hash)
    })
}
