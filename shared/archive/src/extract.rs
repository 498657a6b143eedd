//! Restores the entries of an archive below a directory, and nothing anywhere else.
//!
//! The archive is taken for hostile, and so is whoever swaps directories for links meanwhile:
//! every place is made new, relative to a descriptor, never through a link. Symbolic links come
//! after all that has content, the attributes of directories last. Knows no target but the
//! directory that it is given, which is to be empty.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat,
};
use rustix::io::Errno;

use crate::attributes::{Attributes, LeftOut, Made, Rights, is_refusal};
use crate::beneath::Beneath;
use crate::entries::Entries;
use crate::entry::{Entry, Extent, Kind};
use crate::hashed::Whole;
use crate::late::Late;
use crate::likeness::copy_file;
use crate::names::{Sought, plain};
use crate::room::Room;

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

struct Extraction<'a> {
    target: &'a Beneath,
    plan: &'a Plan<'a>,
    observer: &'a dyn Observer,
    done: Done,
    late: Late,
    /// Whether the archive is one of bk's.
    is_own: bool,
    room: Room<'a>,
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
                    self.target.remove_file(&to).with_context(shown)?;
                    let what = format!("it is damaged: {error:#}");
                    self.observer.left_out(&entry.path, &what);
                    self.done.is_damaged = true;
                }
                made => made.with_context(shown)?,
            }
        }
        self.done.is_damaged |= reader.is_damaged();
        self.is_own |= reader.is_own();
        let notes = reader.notes();
        notes.iter().for_each(|note| self.observer.noted(note));
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

    /// Hard links to what the archive does not hold: in one of bk's that is damage.
    fn leads_nowhere(&self, first: &[u8], places: &[Vec<u8>]) -> Result<()> {
        let error = not_held(first);
        if self.is_own {
            return Err(error);
        }
        for to in places {
            self.observer.left_out(below_first(to), &error.to_string());
        }
        Ok(())
    }

    fn check_stop(&self) -> Result<()> {
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
            return Ok(());
        }
        self.left_out(&entry.path, left_out);
        match &entry.kind {
            Kind::File { extents } => {
                let left_out = self.file(entry, extents.as_deref(), &to, &attributes, content)?;
                self.left_out(&entry.path, left_out);
            }
            Kind::Directory => self.directory(entry, to, attributes)?,
            Kind::Symlink(target) => self.late.hold_symlink(to, target.clone(), attributes)?,
            Kind::Fifo => self.node(entry, &to, FileType::Fifo, 0, &attributes)?,
            Kind::CharDevice(major, minor) => {
                let device = makedev(*major, *minor);
                self.node(entry, &to, FileType::CharacterDevice, device, &attributes)?;
            }
            Kind::BlockDevice(major, minor) => {
                let device = makedev(*major, *minor);
                self.node(entry, &to, FileType::BlockDevice, device, &attributes)?;
            }
            Kind::HardLink(_) => {}
        }
        self.done.entries += 1;
        Ok(())
    }

    fn left_out(&self, name: &[u8], all: impl IntoIterator<Item = LeftOut>) {
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
    fn parent<'p>(&mut self, to: &'p [u8]) -> Result<crate::beneath::Located<'p>> {
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
        let whole = [Extent {
            offset: 0,
            length: entry.size,
        }];
        for extent in extents.unwrap_or(&whole) {
            self.copy(content, &file, *extent)?;
        }
        if extents.is_some() {
            file.set_len(entry.size)?;
        }
        Ok(attributes.give(&Made::Open(file.as_fd()))?)
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
        to: &[u8],
        kind: FileType,
        device: u64,
        attributes: &Attributes,
    ) -> Result<()> {
        let (dir, name) = self.parent(to)?;
        match mknodat(&dir, name, kind, Mode::RUSR | Mode::WUSR, device) {
            Err(error) if is_refusal(error) => {
                let what = "not to be made on this file system";
                self.observer.left_out(&entry.path, what);
                return Ok(());
            }
            made => made.map_err(taken)?,
        }
        let left_out = self.finish_special(&dir, name, kind, attributes)?;
        self.left_out(&entry.path, left_out);
        Ok(())
    }

    fn finish_special(
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

    /// A further name, of what stands at `at` already; else it comes later.
    fn hard_link(&mut self, first: Vec<u8>, at: Vec<u8>, to: Vec<u8>) -> Result<()> {
        match self.link(&at, &to)? {
            true => self.done.entries += 1,
            false => self.late.hold_hard_link(first, at, to)?,
        }
        Ok(())
    }

    /// Whether there was something to link to.
    fn link(&mut self, at: &[u8], to: &[u8]) -> Result<bool> {
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let (from_dir, from) = match self.target.parent(at) {
            Err(error) if missing(&error) => return Ok(false),
            located => located?,
        };
        let kind = match statat(&from_dir, from, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            stat => FileType::from_raw_mode(stat.map_err(io::Error::from)?.st_mode),
        };
        ensure!(
            kind != FileType::Directory,
            "it is a hard link to a directory"
        );
        let (dir, name) = self.parent(to)?;
        // Without AT_SYMLINK_FOLLOW it is the link itself that gets another name.
        match linkat(&from_dir, from, &dir, name, AtFlags::empty()) {
            Err(error) if is_refusal(error) && kind == FileType::RegularFile => {
                let left_out = copy_file((from_dir.as_fd(), from), (dir.as_fd(), name))?;
                self.left_out(below_first(to), left_out);
                let what = "hard link";
                let why = io::Error::from(error).to_string();
                self.observer.not_held(below_first(to), what, &why);
            }
            Err(error) if is_refusal(error) => {
                let what = "a hard link, which this file system does not hold";
                self.observer.left_out(below_first(to), what);
            }
            linked => linked.map_err(taken)?,
        }
        Ok(true)
    }

    /// Symbolic links, then the hard links that had nothing to lead to yet.
    fn make_links(&mut self) -> Result<()> {
        for link in std::mem::take(&mut self.late.symlinks) {
            self.check_stop()?;
            let shown = shown(&link.to);
            let cannot = || format!("cannot restore the link '{shown}'");
            let (dir, name) = self.parent(&link.to).with_context(cannot)?;
            match symlinkat(&link.target[..], &dir, name) {
                Err(error) if is_refusal(error) => {
                    let what = "a symbolic link, which this file system does not hold";
                    self.observer.left_out(below_first(&link.to), what);
                    self.done.entries -= 1;
                    continue;
                }
                made => made.map_err(taken).with_context(cannot)?,
            }
            let left_out = self
                .finish_special(&dir, name, FileType::Symlink, &link.attributes)
                .with_context(cannot)?;
            self.left_out(below_first(&link.to), left_out);
        }
        for (first, (at, to)) in std::mem::take(&mut self.late.hard_links) {
            self.check_stop()?;
            let shown = shown(&to);
            let cannot = || format!("cannot restore the hard link '{shown}'");
            if self.link(&at, &to).with_context(cannot)? {
                self.done.entries += 1;
            } else if let Some(first) = first {
                self.late.hold_apart(first, to)?;
            }
        }
        Ok(())
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

/// A place without the first directory, which is the caller's own.
fn below_first(to: &[u8]) -> &[u8] {
    let slash = to.iter().position(|byte| *byte == b'/');
    slash.map_or(b".", |slash| &to[slash + 1..])
}

fn shown(to: &[u8]) -> String {
    below_first(to).escape_ascii().to_string()
}

fn not_held(first: &[u8]) -> anyhow::Error {
    let first = first.escape_ascii();
    anyhow!("a hard link leads to '{first}', which the archive does not hold")
}

/// The name is one that is there already: the target was empty.
fn taken(error: Errno) -> io::Error {
    match error {
        Errno::EXIST => io::Error::other("the archive has the name twice"),
        error => error.into(),
    }
}
