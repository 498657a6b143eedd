//! Restores entries below one directory, and nowhere else.
//!
//! The archive may be hostile, and other processes may replace directories by links meanwhile: every
//! file is created new, relative to a descriptor, never through a link. An entry that cannot be
//! created is skipped. Symbolic links are created after all content, and attributes of directories
//! set last. The target directory must be empty.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat, unlinkat};
use rustix::io::Errno;

use crate::format::entry::{Entry, Extent, Kind};
use crate::hashed::Whole;
use crate::read::entries::Entries;
use crate::restore::attributes::{Attributes, Made, Rights, Skipped, is_refusal};
use crate::restore::beneath::{Beneath, Located};
use crate::restore::deferred::{Deferred, Symlink};
use crate::restore::names::{NameRange, normalize};
use crate::restore::room::Room;

/// The size of the copy buffer.
const BUFFER_BYTES: usize = 256 << 10;
/// What an entry counts besides its content: the size of its header.
pub const ENTRY_BYTES: u64 = 512;

/// What to restore, and how.
pub struct Plan<'a> {
    /// The path for an entry by its normalized name, at or below one first directory; `None` if it is
    /// not selected.
    pub place: &'a dyn Fn(&[u8]) -> Option<Vec<u8>>,
    /// Ranges that include all selected names, for archives with bk's order; `None` to read all.
    pub ranges: Option<&'a [NameRange]>,
    /// What may be restored.
    pub rights: &'a Rights,
    /// The limit of bytes for content and headers, and the error if it is exceeded.
    pub limit: (u64, String),
    /// The mode of directories without an entry.
    pub dir_mode: u32,
    /// Whether to restore the intact part of a damaged archive.
    pub salvages: bool,
    /// The number of threads for inflating.
    pub jobs: usize,
}

/// The result of restoring.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// Restored entries.
    pub entries: u64,
    /// Bytes of content, holes left out.
    pub bytes: u64,
    /// Whether the first directory has an entry itself.
    pub has_root: bool,
    /// Whether something was lost to damage.
    pub is_damaged: bool,
    /// Paths of directories without an entry.
    pub implied: BTreeSet<Vec<u8>>,
    /// Entries that could not be created, each reported to the observer.
    pub failed_count: u64,
    /// Paths that were not created: of failed entries, and of those that may not be restored.
    pub skipped: HashSet<Vec<u8>>,
    /// Paths of copies in place of hard links.
    pub copies: HashSet<Vec<u8>>,
    /// Length and hash of the archive, if all of it was read.
    pub whole: Option<Whole>,
}

/// Receives progress and warnings.
pub trait Observer {
    /// More bytes of content were restored.
    fn restored_bytes(&self, bytes: u64);
    /// An entry, or a part of it, was skipped; with the reason.
    fn skipped(&self, name: &[u8], what: &str);
    /// A note about the archive.
    fn noted(&self, what: &str);
    /// The file system does not support something of an entry.
    fn unsupported(&self, name: &[u8], what: &str, why: &str);
    /// Whether to stop.
    fn is_stopped(&self) -> bool;

    /// Passes on what of an entry is not restored.
    fn report(&self, name: &[u8], all: Vec<Skipped>) {
        for one in all {
            match one {
                Skipped::Entry(what) => self.skipped(name, &what),
                Skipped::Unsupported(what, error) => {
                    self.unsupported(name, &what, &error.to_string());
                }
            }
        }
    }
}

/// Restores into `target` as `plan` says.
///
/// # Errors
/// A damaged or hostile archive, failed calls, and being interrupted. What was created until then
/// stays.
pub fn extract(
    archive: &File,
    target: &Beneath,
    plan: &Plan<'_>,
    observer: &dyn Observer,
) -> Result<Extracted> {
    let mut extraction = Extraction {
        target,
        plan,
        observer,
        done: Extracted::default(),
        deferred: Deferred::default(),
        is_own: false,
        room: Room::new(&plan.limit),
        notes: Vec::new(),
        buffer: vec![0; BUFFER_BYTES],
    };
    let whole = extraction.pass(archive, plan.ranges, plan.place)?;
    extraction.make_links()?;
    // A selected hard link may point to content under a name that is not selected.
    let apart = std::mem::take(&mut extraction.deferred.apart);
    if !apart.is_empty() {
        extraction.pass_apart(archive, &apart)?;
    }
    extraction.finish_dirs()?;
    extraction.done.whole = whole;
    Ok(extraction.done)
}

pub(crate) struct Extraction<'a> {
    pub(crate) target: &'a Beneath,
    plan: &'a Plan<'a>,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) done: Extracted,
    pub(crate) deferred: Deferred,
    /// Whether the archive is one of bk's.
    is_own: bool,
    pub(crate) room: Room<'a>,
    /// Notes that were reported.
    notes: Vec<String>,
    buffer: Vec<u8>,
}

impl Extraction<'_> {
    fn pass(
        &mut self,
        archive: &File,
        ranges: Option<&[NameRange]>,
        place: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Option<Whole>> {
        let is_stopped = || self.observer.is_stopped();
        let (jobs, salvages) = (self.plan.jobs, self.plan.salvages);
        let mut reader = Entries::read(archive, ranges, jobs, salvages, &is_stopped)?;
        while let Some(entry) = reader.next_entry()? {
            self.check_stop()?;
            let shown = || format!("cannot restore '{}'", entry.path.escape_ascii());
            let name = normalize(&entry.path).with_context(shown)?;
            let Some(to) = place(&name) else { continue };
            let bytes = entry.data_bytes().saturating_add(ENTRY_BYTES);
            self.room
                .take(bytes, self.target.root())
                .with_context(shown)?;
            let made = self.entry(&entry, to.clone(), place, &mut reader.content());
            match made {
                Err(error) if reader.is_cut() => {
                    let what = format!("it is damaged: {error:#}");
                    self.observer.skipped(below_first(&to), &what);
                    self.done.is_damaged = true;
                    self.mark_absent(to)?;
                }
                Err(error) if is_of_entry(&error) => self.fail(to, &error)?,
                made => made.with_context(shown)?,
            }
        }
        self.done.is_damaged |= reader.is_damaged();
        self.is_own |= reader.is_own();
        for note in reader.notes() {
            if !self.notes.contains(&note) {
                self.observer.noted(&note);
                self.notes.push(note);
            }
        }
        Ok(reader.into_input().whole())
    }

    /// Restores the targets of hard links outside of the selection under the first link's path, then
    /// the other links.
    fn pass_apart(&mut self, archive: &File, apart: &HashMap<Vec<u8>, Vec<Vec<u8>>>) -> Result<()> {
        let met = RefCell::new(HashSet::new());
        let place = |name: &[u8]| {
            let first = apart.get(name)?.first().cloned();
            met.borrow_mut().insert(name.to_owned());
            first
        };
        let ranges: Vec<_> = apart.keys().cloned().map(NameRange::path).collect();
        self.pass(archive, self.plan.ranges.map(|_| &ranges[..]), &place)?;
        for (first, places) in apart {
            if !met.borrow().contains(first) {
                self.leads_nowhere(first, places)?;
                continue;
            }
            let linked = |to: &Vec<u8>| (None, (places[0].clone(), to.clone()));
            self.deferred
                .hard_links
                .extend(places[1..].iter().map(linked));
        }
        self.make_links()?;
        let mut left = std::mem::take(&mut self.deferred.apart).into_iter();
        left.try_for_each(|(first, places)| self.leads_nowhere(&first, &places))
    }

    /// Handles hard links without a target: in an archive of bk's that is damage, which may be known
    /// already.
    fn leads_nowhere(&mut self, first: &[u8], places: &[Vec<u8>]) -> Result<()> {
        let first = first.escape_ascii();
        let error = anyhow!("a hard link points to '{first}', which is not in the archive");
        if self.is_own && !self.done.is_damaged {
            return Err(error);
        }
        for to in places {
            self.fail(to.clone(), &error)?;
        }
        Ok(())
    }

    /// Records an entry that could not be created.
    pub(crate) fn fail(&mut self, to: Vec<u8>, error: &anyhow::Error) -> Result<()> {
        let what = format!("{error:#}");
        self.observer.skipped(below_first(&to), &what);
        self.done.failed_count += 1;
        self.mark_absent(to)
    }

    pub(crate) fn mark_absent(&mut self, to: Vec<u8>) -> Result<()> {
        self.deferred.hold(to.len())?;
        self.done.skipped.insert(to);
        Ok(())
    }

    pub(crate) fn check_stop(&self) -> Result<()> {
        ensure!(!self.observer.is_stopped(), "interrupted");
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &Entry,
        to: Vec<u8>,
        place: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
        content: &mut dyn Read,
    ) -> Result<()> {
        if let Kind::HardLink(first) = &entry.kind {
            let first = normalize(first).context("it is a hard link")?;
            return match place(&first) {
                Some(at) => self.hard_link(first, at, to),
                None => self.deferred.hold_apart(first, to),
            };
        }
        let (attributes, skipped) = self.plan.rights.attributes(entry);
        let is_node = matches!(entry.kind, Kind::CharDevice(..) | Kind::BlockDevice(..));
        if is_node && !self.plan.rights.devices {
            let what = "a device: this needs root and --devices";
            self.observer.skipped(&entry.path, what);
            return self.mark_absent(to);
        }
        self.observer.report(&entry.path, skipped);
        match &entry.kind {
            Kind::File { .. } => {
                let skipped = self.file(entry, &to, &attributes, content)?;
                self.observer.report(&entry.path, skipped);
            }
            Kind::Directory => self.directory(entry, to, attributes)?,
            Kind::Symlink(target) => self.deferred.hold_symlink(Symlink {
                to,
                target: target.clone(),
                attributes,
            })?,
            _ => return self.node(entry, to, &attributes),
        }
        self.done.entries += 1;
        Ok(())
    }

    /// The parent directory of a path, created if it does not exist yet.
    pub(crate) fn parent<'p>(&mut self, to: &'p [u8]) -> Result<Located<'p>> {
        let mut made = Vec::new();
        let make = |dir: &[u8]| made.push(dir.to_owned());
        let located = self.target.make_parent(to, make)?;
        for dir in made {
            self.room.count(ENTRY_BYTES)?;
            self.deferred.hold_implied(dir)?;
        }
        Ok(located)
    }

    fn file(
        &mut self,
        entry: &Entry,
        to: &[u8],
        attributes: &Attributes,
        content: &mut dyn Read,
    ) -> Result<Vec<Skipped>> {
        let (dir, name) = self.parent(to)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(taken)?;
        let file = File::from(file);
        self.fill(entry, &file, content).inspect_err(|_| {
            // Report the first error; the target is removed anyway.
            let _ = unlinkat(&dir, name, AtFlags::empty());
        })?;
        Ok(attributes.give(&Made::Open(file.as_fd()))?)
    }

    fn fill(&mut self, entry: &Entry, file: &File, content: &mut dyn Read) -> Result<()> {
        for extent in entry.data().iter() {
            self.copy(content, file, *extent)?;
        }
        if let Kind::File { extents: Some(_) } = entry.kind {
            file.set_len(entry.size)?;
        }
        Ok(())
    }

    fn copy(&mut self, content: &mut dyn Read, file: &File, extent: Extent) -> Result<()> {
        let mut at = extent.offset;
        let end = extent.offset + extent.length;
        while at < end {
            self.check_stop()?;
            let piece = usize::try_from(end - at).unwrap_or(usize::MAX);
            let piece = piece.min(self.buffer.len());
            content.read_exact(&mut self.buffer[..piece])?;
            file.write_all_at(&self.buffer[..piece], at)?;
            at += piece as u64;
            self.done.bytes += piece as u64;
            self.observer.restored_bytes(piece as u64);
        }
        Ok(())
    }

    fn directory(&mut self, entry: &Entry, to: Vec<u8>, attributes: Attributes) -> Result<()> {
        if to.is_empty() {
            bail!("it is the target itself");
        }
        self.done.has_root |= !to.contains(&b'/');
        let (dir, name) = self.parent(&to)?;
        match mkdirat(&dir, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) if self.deferred.is_implied(&to) => {}
            Err(error) => return Err(taken(error).into()),
        }
        self.deferred.hold_dir(to, entry.path.clone(), attributes)
    }

    fn node(&mut self, entry: &Entry, to: Vec<u8>, attributes: &Attributes) -> Result<()> {
        let (kind, device) = match entry.kind {
            Kind::CharDevice(major, minor) => (FileType::CharacterDevice, makedev(major, minor)),
            Kind::BlockDevice(major, minor) => (FileType::BlockDevice, makedev(major, minor)),
            _ => (FileType::Fifo, 0),
        };
        let (dir, name) = self.parent(&to)?;
        match mknodat(&dir, name, kind, Mode::RUSR | Mode::WUSR, device) {
            Err(error) if is_refusal(error) => {
                let what = "this file system does not support it";
                self.observer.skipped(&entry.path, what);
                return self.mark_absent(to);
            }
            made => made.map_err(taken)?,
        }
        let skipped = self.finish_special(&dir, name, kind, attributes)?;
        self.observer.report(&entry.path, skipped);
        self.done.entries += 1;
        Ok(())
    }

    pub(crate) fn finish_special(
        &self,
        dir: impl AsFd,
        name: &[u8],
        kind: FileType,
        attributes: &Attributes,
    ) -> Result<Vec<Skipped>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&dir, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&made)?;
        ensure!(
            FileType::from_raw_mode(stat.st_mode) == kind,
            "it was replaced by something else"
        );
        let made = match kind {
            FileType::Symlink => Made::Link(made.as_fd(), dir.as_fd(), name),
            _ => Made::Special(made.as_fd(), dir.as_fd(), name),
        };
        Ok(attributes.give(&made)?)
    }

    /// Sets modes and times of directories, deepest first.
    fn finish_dirs(&mut self) -> Result<()> {
        for (to, dir) in std::mem::take(&mut self.deferred.dirs).into_iter().rev() {
            let cannot = || format!("cannot finish the directory '{}'", shown(&to));
            let opened = self.target.open_dir(&to).with_context(cannot)?;
            match dir {
                None => {
                    match rustix::fs::fchmod(&opened, Mode::from_raw_mode(self.plan.dir_mode)) {
                        // The file system does not support modes.
                        Err(error) if is_refusal(error) => {}
                        given => given.with_context(cannot)?,
                    }
                    self.done.implied.insert(to);
                }
                Some((name, attributes)) => {
                    let skipped = attributes.give(&Made::Open(opened.as_fd()));
                    self.observer.report(&name, skipped.with_context(cannot)?);
                }
            }
        }
        Ok(())
    }
}

/// Whether an error only concerns one entry: its path exists, has a part that is not a directory or is
/// invalid for the file system; or the file is too large for it.
pub(crate) fn is_of_entry(error: &anyhow::Error) -> bool {
    let is_of_entry = |error: &io::Error| {
        let is_name = Errno::from_io_error(error) == Some(Errno::ILSEQ);
        is_name
            || matches!(
                error.kind(),
                ErrorKind::AlreadyExists
                    | ErrorKind::NotADirectory
                    | ErrorKind::InvalidFilename
                    | ErrorKind::InvalidInput
                    | ErrorKind::FileTooLarge
            )
    };
    let errno = |it: &Errno| is_of_entry(&io::Error::from(*it));
    error.chain().any(|it| {
        it.downcast_ref().is_some_and(is_of_entry) || it.downcast_ref().is_some_and(errno)
    })
}

/// A path without its first directory, which belongs to the caller.
pub(crate) fn below_first(to: &[u8]) -> &[u8] {
    let slash = to.iter().position(|byte| *byte == b'/');
    slash.map_or(b".", |slash| &to[slash + 1..])
}

pub(crate) fn shown(to: &[u8]) -> String {
    below_first(to).escape_ascii().to_string()
}

/// EEXIST means a duplicate name: the target was empty.
pub(crate) fn taken(error: Errno) -> io::Error {
    match error {
        Errno::EXIST => io::Error::new(ErrorKind::AlreadyExists, "the archive has the name twice"),
        error => error.into(),
    }
}
