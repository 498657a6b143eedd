//! What a restoration would do, for `--dry-run`: where to, how many entries and bytes.
//!
//! Reads the archive and changes no target. What comes up only as a file is written, it does not know.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bk_archive::format::entry::{Entry, Kind};
use bk_archive::read::entries::Entries;
use bk_archive::restore::extract::{ENTRY_BYTES, Observer};
use bk_archive::restore::names::{NameRange, normalize};
use bk_store::archives::durable::check_makeable;
use rustix::fs::{AtFlags, CWD, FileType, statat};

use crate::flags::{Existing, To};
use crate::merge::check_replaced;
use crate::opened::Opened;
use crate::outcome::Outcome;
use crate::sources::{Sources, is_in_order};
use crate::target::Target;
use crate::work::Work;

/// The path of an entry below the target; `None` where it is not wanted.
type Place<'a> = &'a dyn Fn(&[u8]) -> Option<Vec<u8>>;

/// # Errors
/// A target that cannot be restored to or has no room, an archive that cannot be read or holds more than
/// is allowed, and a path that it does not hold.
pub(crate) fn preview(work: &Work<'_>) -> Result<Outcome> {
    let To::Directory(dir, existing) = &work.settings.to else {
        let sources = Sources::of(work.backup)?;
        let targets = work.source_targets(&sources)?;
        let place = |name: &[u8]| {
            let mut numbers = 0..sources.paths.len();
            numbers.find_map(|number| sources.place_of(number, name))
        };
        let outcome = count(work, &targets, None, &place)?;
        work.warn_of_streams(&sources);
        return Ok(outcome);
    };
    let targets = [work.directory(dir, *existing)?];
    let met = RefCell::new(vec![false; work.wanted.paths.len()]);
    work.wanted.selection.reset();
    let place = |name: &[u8]| work.place(name, &mut met.borrow_mut());
    let outcome = count(work, &targets, Some(*existing), &place)?;
    work.check_selection(&met.into_inner(), outcome.entries)?;
    Ok(outcome)
}

/// What is in the archive of what has a place.
fn count(
    work: &Work<'_>,
    targets: &[Target],
    existing: Option<Existing>,
    place: Place<'_>,
) -> Result<Outcome> {
    let opened = work.open()?;
    for target in targets {
        check_makeable(&target.stage_dir)?;
    }
    if let Some(target) = targets.first() {
        work.check_space(&opened, &target.stage_dir)?;
    }
    let (limit, too_much) = work.limit(&opened);
    let mut written = 0u64;
    let mut outcome = Outcome {
        placed: targets
            .iter()
            .map(|it| (it.path.clone(), it.kept.clone()))
            .collect(),
        ..Outcome::default()
    };
    let mut apart = HashSet::new();
    let ranges = work.wanted.selection.ranges();
    let ranges = ranges.filter(|_| is_in_order(work.backup));
    let mut entries = read(work, &opened, ranges)?;
    while let Some(entry) = entries.next_entry()? {
        ensure!(!work.watch.is_stopped(), "interrupted");
        let shown = || format!("cannot restore '{}'", entry.path.escape_ascii());
        let name = normalize(&entry.path).with_context(shown)?;
        work.watch.restored_bytes(entry.data_bytes());
        let Some(to) = place(&name) else { continue };
        written = written.saturating_add(entry.data_bytes().saturating_add(ENTRY_BYTES));
        ensure!(written <= limit, "{}: {too_much}", shown());
        if is_device(&entry) && !work.settings.rights.devices {
            let what = "a device: this needs root and --devices";
            work.watch.skipped(&entry.path, what);
            continue;
        }
        if let (Some(Existing::Into { overwrite }), [target]) = (existing, targets) {
            check_free(&target.path, &to, &entry, overwrite)?;
        }
        if let Kind::HardLink(first) = &entry.kind {
            let first = normalize(first).with_context(shown)?;
            apart.extend(place(&first).is_none().then_some(first));
        }
        outcome.entries += 1;
        outcome.bytes += entry.data_bytes();
    }
    outcome.bytes += apart_bytes(work, &opened, &apart)?;
    outcome.is_damaged = entries.is_damaged();
    for note in entries.notes() {
        work.watch.noted(&note);
    }
    Ok(outcome)
}

/// The content of files that are not wanted, but a hard link to each is.
fn apart_bytes(work: &Work<'_>, opened: &Opened, apart: &HashSet<Vec<u8>>) -> Result<u64> {
    let mut bytes = 0;
    if apart.is_empty() {
        return Ok(bytes);
    }
    let ranges: Vec<_> = apart.iter().cloned().map(NameRange::path).collect();
    let ranges = is_in_order(work.backup).then_some(&ranges[..]);
    let mut entries = read(work, opened, ranges)?;
    while let Some(entry) = entries.next_entry()? {
        let is_one = normalize(&entry.path).is_ok_and(|name| apart.contains(&name));
        bytes += if is_one { entry.data_bytes() } else { 0 };
    }
    Ok(bytes)
}

fn read(work: &Work<'_>, opened: &Opened, ranges: Option<&[NameRange]>) -> Result<Entries> {
    work.watch
        .begin(work.content_bytes().unwrap_or(opened.bytes), "read");
    let is_stopped = || work.watch.is_stopped();
    let (jobs, salvages) = (work.settings.jobs, work.salvages());
    Entries::read(&opened.file, ranges, jobs, salvages, &is_stopped)
}

fn is_device(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::CharDevice(..) | Kind::BlockDevice(..))
}

/// # Errors
/// What is in the way in a directory that stays.
fn check_free(target: &Path, to: &[u8], entry: &Entry, overwrite: bool) -> Result<()> {
    let path = target.join(OsStr::from_bytes(to));
    let Ok(stat) = statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW) else {
        return Ok(());
    };
    match (FileType::from_raw_mode(stat.st_mode), &entry.kind) {
        // A directory stays, and so does a link to one, if its owner is trusted.
        (FileType::Directory | FileType::Symlink, Kind::Directory) if path.is_dir() => Ok(()),
        (old, _) => check_replaced(old, overwrite, &to.escape_ascii().to_string()),
    }
}
