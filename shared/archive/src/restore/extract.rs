//! Restores the entries of an archive below a directory, and nothing anywhere else.
//!
//! The archive is taken for hostile, and so is whoever swaps directories for links meanwhile:
//! every place is made new, relative to a descriptor, never through a link. What cannot be made is
//! left out, and keeps no other from being restored. Symbolic links come after all that has
//! content, the attributes of directories last. Knows no target but the directory that it is
//! given, which is to be empty.

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
use crate::restore::attributes::{Attributes, LeftOut, Made, Rights, is_refusal};
use crate::restore::beneath::Beneath;
use crate::restore::late::Late;
use crate::restore::names::{Sought, plain};
use crate::restore::room::Room;

/// In which content is copied.
const BUFFER_BYTES: usize = 256 << 10;
/// What an entry counts beside its content: its header takes that in the archive.
const ENTRY_BYTES: u64 = 512;

/// What is to be restored, and how.
pub struct Plan<'a> {
    /// Where an entry goes, by its plain name, at or below one first directory; `None` where it
    /// is not asked for.
    pub place: &'a dyn Fn(&[u8]) -> Option<Vec<u8>>,
    /// The names among which all is that is asked for, where the entries are in the order of
    /// bk's archives; `None` to read all of it.
    pub sought: Option<&'a [Sought]>,
    /// What may be restored of it.
    pub rights: Rights,
    /// Content and headers of more bytes are refused, and why in a word for people.
    pub limit: (u64, String),
    /// Permissions of directories that the archive does not tell.
    pub dir_mode: u32,
    /// Whether what is whole of a damaged archive is restored, rather than nothing.
    pub salvages: bool,
    /// Inflating threads.
    pub jobs: usize,
}

/// What was restored.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Done {
    /// Entries.
    pub entries: u64,
    /// Bytes of content, holes left out.
    pub bytes: u64,
    /// Whether the archive told of the first directory itself.
    pub has_root: bool,
    /// Whether something of it was lost, as the archive is damaged.
    pub is_damaged: bool,
    /// Places of directories that the archive did not tell of.
    pub implied: BTreeSet<Vec<u8>>,
    /// Entries that could not be made, each told to the observer.
    pub unmade: u64,
    /// Places that have nothing: of those, and of what is left out by right.
    pub left_out: HashSet<Vec<u8>>,
    /// Places of copies where the archive has a hard link.
    pub copies: HashSet<Vec<u8>>,
    /// Length and hash of the archive as it was read, where all of it was.
    pub whole: Option<Whole>,
}

/// Looks on while entries are restored.
pub trait Observer {
    /// So many more bytes of content were restored.
    fn restored_bytes(&self, bytes: u64);
    /// An entry, or something of it, was left out, and why.
    fn left_out(&self, name: &[u8], what: &str);
    /// Something in the archive is odd, or lost.
    fn noted(&self, what: &str);
    /// The file system does not hold this of an entry, and most likely not of others either.
    fn not_held(&self, name: &[u8], what: &str, why: &str);
    /// Whether to give up.
    fn is_stopped(&self) -> bool;
}

/// Restores what `plan` asks for into `target`, from the begin of the file.
///
/// # Errors
/// A damaged or hostile archive, those of the file system, and having been stopped. What was
/// made until then stays.
pub fn extract(
    archive: &File,
    target: &Beneath,
    plan: &Plan<'_>,
    observer: &dyn Observer,
) -> Result<Done> {
    let mut extraction = Extraction {
        target,
        plan,
        observer,
        done: Done::default(),
        late: Late::default(),
        is_own: false,
        room: Room::new(&plan.limit),
        notes: Vec::new(),
        buffer: vec![0; BUFFER_BYTES],
    };
    let whole = extraction.pass(archive, plan.sought, plan.place)?;
    extraction.make_links()?;
    // The content of a file whose first name is not asked for stands under that name.
    let apart = extraction.late.take_apart();
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
    pub(crate) done: Done,
    pub(crate) late: Late,
    /// Whether the archive is one of bk's.
    is_own: bool,
    pub(crate) room: Room<'a>,
    /// Those that were told.
    notes: Vec<String>,
    buffer: Vec<u8>,
}

impl Extraction<'_> {
    fn pass(
        &mut self,
        archive: &File,
        sought: Option<&[Sought]>,
        place: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Option<Whole>> {
        let is_stopped = || self.observer.is_stopped();
        let mut reader = Entries::read(archive, sought, self.plan.jobs, &is_stopped)?;
        reader.salvage(self.plan.salvages);
        while let Some(entry) = reader.next_entry()? {
            self.check_stop()?;
            let shown = || format!("cannot restore '{}'", entry.path.escape_ascii());
            let name = plain(&entry.path).with_context(shown)?;
            let Some(to) = place(&name) else { continue };
            let bytes = entry.data_bytes().saturating_add(ENTRY_BYTES);
            self.room
                .take(bytes, self.target.root())
                .with_context(shown)?;
            let made = self.entry(&entry, to.clone(), place, &mut reader.content());
            match made {
                Err(error) if reader.is_cut() => {
                    let what = format!("it is damaged: {error:#}");
                    self.observer.left_out(below_first(&to), &what);
                    self.done.is_damaged = true;
                    self.not_there(to)?;
                }
                Err(error) if is_of_entry(&error) => self.unmade(to, &error)?,
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

    /// Restores what hard links lead to under the first of their names, then the others.
    fn pass_apart(&mut self, archive: &File, apart: &HashMap<Vec<u8>, Vec<Vec<u8>>>) -> Result<()> {
        let met = RefCell::new(HashSet::new());
        let place = |name: &[u8]| {
            let first = apart.get(name)?.first().cloned();
            met.borrow_mut().insert(name.to_owned());
            first
        };
        let sought: Vec<_> = apart.keys().cloned().map(Sought::path).collect();
        self.pass(archive, self.plan.sought.map(|_| &sought[..]), &place)?;
        for (first, places) in apart {
            if !met.borrow().contains(first) {
                self.leads_nowhere(first, places)?;
                continue;
            }
            let linked = |to: &Vec<u8>| (None, (places[0].clone(), to.clone()));
            self.late.hard_links.extend(places[1..].iter().map(linked));
        }
        self.make_links()?;
        let mut left = self.late.take_apart().into_iter();
        left.try_for_each(|(first, places)| self.leads_nowhere(&first, &places))
    }

    /// Hard links to what the archive does not hold: in one of bk's that is damage, which may be
    /// known already.
    fn leads_nowhere(&mut self, first: &[u8], places: &[Vec<u8>]) -> Result<()> {
        let error = not_held(first);
        if self.is_own && !self.done.is_damaged {
            return Err(error);
        }
        for to in places {
            self.unmade(to.clone(), &error)?;
        }
        Ok(())
    }

    /// One that cannot be made keeps no other from being restored.
    pub(crate) fn unmade(&mut self, to: Vec<u8>, error: &anyhow::Error) -> Result<()> {
        let what = format!("{error:#}");
        self.observer.left_out(below_first(&to), &what);
        self.done.unmade += 1;
        self.not_there(to)
    }

    pub(crate) fn not_there(&mut self, to: Vec<u8>) -> Result<()> {
        self.late.hold(to.len())?;
        self.done.left_out.insert(to);
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
            let first = plain(first).context("it is a hard link")?;
            return match place(&first) {
                Some(at) => self.hard_link(first, at, to),
                None => self.late.hold_apart(first, to),
            };
        }
        let (attributes, left_out) = self.plan.rights.attributes(entry);
        let is_node = matches!(entry.kind, Kind::CharDevice(..) | Kind::BlockDevice(..));
        if is_node && !self.plan.rights.devices {
            let what = "a device: that takes root and --devices";
            self.observer.left_out(&entry.path, what);
            return self.not_there(to);
        }
        self.left_out(&entry.path, left_out);
        match &entry.kind {
            Kind::File { extents } => {
                let left_out = self.file(entry, extents.as_deref(), &to, &attributes, content)?;
                self.left_out(&entry.path, left_out);
            }
            Kind::Directory => self.directory(entry, to, attributes)?,
            Kind::Symlink(target) => self.late.hold_symlink(to, target.clone(), attributes)?,
            Kind::Fifo => return self.node(entry, to, FileType::Fifo, 0, &attributes),
            Kind::CharDevice(major, minor) => {
                let device = makedev(*major, *minor);
                return self.node(entry, to, FileType::CharacterDevice, device, &attributes);
            }
            Kind::BlockDevice(major, minor) => {
                let device = makedev(*major, *minor);
                return self.node(entry, to, FileType::BlockDevice, device, &attributes);
            }
            Kind::HardLink(_) => {}
        }
        self.done.entries += 1;
        Ok(())
    }

    pub(crate) fn left_out(&self, name: &[u8], all: impl IntoIterator<Item = LeftOut>) {
        for one in all {
            match one {
                LeftOut::Entry(what) => self.observer.left_out(name, &what),
                LeftOut::NotHeld(what, error) => {
                    self.observer.not_held(name, &what, &error.to_string());
                }
            }
        }
    }

    /// The directory that a place is to be made in, made itself where the archive did not tell
    /// of it yet.
    pub(crate) fn parent<'p>(
        &mut self,
        to: &'p [u8],
    ) -> Result<crate::restore::beneath::Located<'p>> {
        let mut made = Vec::new();
        let located = self
            .target
            .make_parent(to, |dir| made.push(dir.to_owned()))?;
        for dir in made {
            self.room.count(ENTRY_BYTES)?;
            self.late.hold_implied(dir)?;
        }
        Ok(located)
    }

    fn file(
        &mut self,
        entry: &Entry,
        extents: Option<&[Extent]>,
        to: &[u8],
        attributes: &Attributes,
        content: &mut dyn Read,
    ) -> Result<Vec<LeftOut>> {
        let (dir, name) = self.parent(to)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(taken)?;
        let file = File::from(file);
        self.fill(entry, extents, &file, content).inspect_err(|_| {
            // The first error is the one to tell; what stays goes with the target.
            let _ = unlinkat(&dir, name, AtFlags::empty());
        })?;
        Ok(attributes.give(&Made::Open(file.as_fd()))?)
    }

    fn fill(
        &mut self,
        entry: &Entry,
        extents: Option<&[Extent]>,
        file: &File,
        content: &mut dyn Read,
    ) -> Result<()> {
        let whole = [Extent {
            offset: 0,
            length: entry.size,
        }];
        for extent in extents.unwrap_or(&whole) {
            self.copy(content, file, *extent)?;
        }
        if extents.is_some() {
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
            Err(Errno::EXIST) if self.late.is_implied(&to) => {}
            Err(error) => return Err(taken(error).into()),
        }
        self.late.hold_dir(to, entry.path.clone(), attributes)
    }

    fn node(
        &mut self,
        entry: &Entry,
        to: Vec<u8>,
        kind: FileType,
        device: u64,
        attributes: &Attributes,
    ) -> Result<()> {
        let (dir, name) = self.parent(&to)?;
        match mknodat(&dir, name, kind, Mode::RUSR | Mode::WUSR, device) {
            Err(error) if is_refusal(error) => {
                let what = "not to be made on this file system";
                self.observer.left_out(&entry.path, what);
                return self.not_there(to);
            }
            made => made.map_err(taken)?,
        }
        let left_out = self.finish_special(&dir, name, kind, attributes)?;
        self.left_out(&entry.path, left_out);
        self.done.entries += 1;
        Ok(())
    }

    pub(crate) fn finish_special(
        &self,
        dir: impl AsFd,
        name: &[u8],
        kind: FileType,
        attributes: &Attributes,
    ) -> Result<Vec<LeftOut>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&dir, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&made)?;
        ensure!(
            FileType::from_raw_mode(stat.st_mode) == kind,
            "something else came in its place"
        );
        let made = match kind {
            FileType::Symlink => Made::Link(made.as_fd(), dir.as_fd(), name),
            _ => Made::Special(made.as_fd(), dir.as_fd(), name),
        };
        Ok(attributes.give(&made)?)
    }

    /// Modes and times of directories, what is below first.
    fn finish_dirs(&mut self) -> Result<()> {
        for (to, dir) in std::mem::take(&mut self.late.dirs).into_iter().rev() {
            let cannot = || format!("cannot finish the directory '{}'", shown(&to));
            let opened = self.target.open_dir(&to).with_context(cannot)?;
            match dir {
                None => {
                    match rustix::fs::fchmod(&opened, Mode::from_raw_mode(self.plan.dir_mode)) {
                        // As the file system makes all directories.
                        Err(error) if is_refusal(error) => {}
                        given => given.with_context(cannot)?,
                    }
                    self.done.implied.insert(to);
                }
                Some((name, attributes)) => {
                    let left_out = attributes.give(&Made::Open(opened.as_fd()));
                    self.left_out(&name, left_out.with_context(cannot)?);
                }
            }
        }
        Ok(())
    }
}

/// Whether it is one entry that cannot be made: its name is taken, leads through what is no
/// directory, or is one that the file system does not take; or the file is too large for it.
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

/// A place without the first directory, which is the caller's own.
pub(crate) fn below_first(to: &[u8]) -> &[u8] {
    let slash = to.iter().position(|byte| *byte == b'/');
    slash.map_or(b".", |slash| &to[slash + 1..])
}

pub(crate) fn shown(to: &[u8]) -> String {
    below_first(to).escape_ascii().to_string()
}

fn not_held(first: &[u8]) -> anyhow::Error {
    let first = first.escape_ascii();
    anyhow!("a hard link leads to '{first}', which the archive does not hold")
}

/// The name is one that is there already: the target was empty.
pub(crate) fn taken(error: Errno) -> io::Error {
    match error {
        Errno::EXIST => io::Error::new(ErrorKind::AlreadyExists, "the archive has the name twice"),
        error => error.into(),
    }
}
