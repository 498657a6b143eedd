//! What a restoration would do, for `--dry-run`: where to, how many entries and bytes.
//!
//! Reads the archive and changes no target. What comes up only as a file is written, it does not know.

use std::cell::RefCell;

use anyhow::{Context, Result, bail};
use bk_archive::format::entry::{Entry, Kind};
use bk_archive::read::entries::Entries;
use bk_archive::restore::extract::Observer;
use bk_archive::restore::names::normalize;

use crate::flags::{Existing, To};
use crate::outcome::Outcome;
use crate::target::Target;
use crate::work::{Work, is_in_order, place_of, sources};

/// # Errors
/// A target that cannot be restored to, an archive that cannot be read, and a path that it does not hold.
pub(crate) fn preview(work: &Work<'_>) -> Result<Outcome> {
    let sources = match work.settings.to {
        To::Source => sources(work.backup)?,
        _ => Vec::new(),
    };
    let targets = match &work.settings.to {
        To::Directory(dir, existing) => vec![work.directory(dir, *existing)?],
        _ => work.source_targets(&sources)?,
    };
    let met = RefCell::new(vec![false; work.wanted.paths.len()]);
    let place = |name: &[u8]| match work.settings.to {
        To::Source => (0..sources.len()).find_map(|number| place_of(&sources, number, name)),
        _ => work.place(name, &mut met.borrow_mut()),
    };
    let mut outcome = count(work, &targets, &place)?;
    if !matches!(work.settings.to, To::Source) {
        work.check_selection(&met.into_inner(), outcome.entries)?;
    }
    let placed = targets.into_iter().map(|it| (it.path, it.kept));
    outcome.placed = placed.collect();
    Ok(outcome)
}

/// What is in the archive of what has a place.
fn count(
    work: &Work<'_>,
    targets: &[Target],
    place: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
) -> Result<Outcome> {
    let opened = work.open()?;
    let ranges = work.wanted.selection.ranges();
    let ranges = ranges.filter(|_| is_in_order(work.backup));
    let is_stopped = || work.watch.is_stopped();
    let (jobs, salvages) = (work.settings.jobs, work.salvages());
    let mut entries = Entries::read(&opened.file, ranges, jobs, salvages, &is_stopped)?;
    let mut outcome = Outcome::default();
    while let Some(entry) = entries.next_entry()? {
        if is_stopped() {
            bail!("interrupted");
        }
        let shown = || format!("cannot restore '{}'", entry.path.escape_ascii());
        let name = normalize(&entry.path).with_context(shown)?;
        let Some(to) = place(&name) else { continue };
        if is_device(&entry) && !work.settings.rights.devices {
            let what = "a device: this needs root and --devices";
            work.watch.skipped(&entry.path, what);
            continue;
        }
        check_free(work, targets, &entry, &to)?;
        outcome.entries += 1;
        outcome.bytes += entry.data_bytes();
    }
    outcome.is_damaged = entries.is_damaged();
    Ok(outcome)
}

fn is_device(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::CharDevice(..) | Kind::BlockDevice(..))
}

/// # Errors
/// What would be in the way in a directory that stays.
fn check_free(work: &Work<'_>, targets: &[Target], entry: &Entry, to: &[u8]) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let stays = Existing::Into { overwrite: false };
    let (To::Directory(_, existing), [target]) = (&work.settings.to, targets) else {
        return Ok(());
    };
    let path = target.path.join(std::ffi::OsStr::from_bytes(to));
    if *existing == stays && entry.kind != Kind::Directory && path.symlink_metadata().is_ok() {
        bail!(
            "'{}' is there already: --overwrite replaces it",
            path.display()
        );
    }
    Ok(())
}
