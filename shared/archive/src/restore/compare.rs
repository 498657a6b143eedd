//! Reads back what was restored and compares it with the archive.
//!
//! Reads the archive again. Only for a scratch directory: the modes of files that this user cannot
//! read are changed after they were compared.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use anyhow::{Result, ensure};
use rustix::fs::{
    Advice, AtFlags, CWD, FileType, Mode, OFlags, Stat, chmodat, fadvise, fstat, getxattr, major,
    minor, mkdirat, mknodat, openat, readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::format::entry::{Entry, Kind};
use crate::read::entries::Entries;
use crate::restore::attributes::{Attributes, Made, by_proc};
use crate::restore::beneath::Beneath;
use crate::restore::copy::next_data;
use crate::restore::extract::{Extracted, Observer, Plan};
use crate::restore::names::normalize;

/// The resolution of times on FAT.
const COARSEST_SECS: u64 = 2;
const BUFFER_BYTES: usize = 64 << 10;
/// Next to the first directory of what is restored.
const PROBE_NAME: &[u8] = b"probe";
const OPEN_PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Compares all entries and returns their number. Calls `differs` for an entry that differs, and the
/// observer for what the file system does not support. Entries that were skipped when restoring are
/// not compared.
///
/// # Errors
/// A damaged archive, and being interrupted.
pub fn compare(
    archive: &File,
    target: &Beneath,
    plan: &Plan<'_>,
    done: &Extracted,
    observer: &dyn Observer,
    mut differs: impl FnMut(&[u8], &str),
) -> Result<u64> {
    let is_stopped = || observer.is_stopped();
    let mut reader = Entries::read(archive, plan.ranges, plan.jobs, plan.salvages, &is_stopped)?;
    let mut count = 0;
    while let Some(entry) = reader.next_entry()? {
        ensure!(!observer.is_stopped(), "interrupted");
        let Some(at) = (plan.place)(&normalize(&entry.path)?) else {
            continue;
        };
        if done.skipped.contains(&at) {
            continue;
        }
        let comparison = Comparison {
            target,
            plan,
            done,
            observer,
            entry: &entry,
            at: &at,
        };
        match comparison.difference(&mut reader.content()) {
            Ok(None) => {}
            Ok(Some(what)) => differs(&entry.path, &what),
            // Errors of the archive itself come again at the next entry.
            Err(error) => differs(&entry.path, &format!("{error:#}")),
        }
        count += 1;
    }
    Ok(count)
}

struct Comparison<'a> {
    target: &'a Beneath,
    plan: &'a Plan<'a>,
    done: &'a Extracted,
    observer: &'a dyn Observer,
    entry: &'a Entry,
    at: &'a [u8],
}

impl Comparison<'_> {
    /// The first difference.
    fn difference(&self, content: &mut dyn Read) -> Result<Option<String>> {
        let (dir, name) = self.target.parent(self.at)?;
        let (wanted, _) = self.plan.rights.attributes(self.entry);
        let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if let Kind::HardLink(first) = &self.entry.kind {
            return self.hard_link(&stat, first);
        }
        let special = openat(&dir, name, OPEN_PATH, Mode::empty())?;
        if let Some(what) = self.kind(&stat, &dir, name)? {
            return Ok(Some(what));
        }
        if let Some(what) = self.facts(&stat, &special, &wanted)? {
            return Ok(Some(what));
        }
        self.open_up(&stat, &special)?;
        match &self.entry.kind {
            Kind::File { .. } => self.content(&dir, name, content),
            _ => Ok(None),
        }
    }

    fn hard_link(&self, stat: &Stat, first: &[u8]) -> Result<Option<String>> {
        let Some(at) = (self.plan.place)(&normalize(first)?) else {
            return Ok(None);
        };
        let (dir, name) = self.target.parent(&at)?;
        let there = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino) {
            return Ok(None);
        }
        if !self.done.copies.contains(self.at) || !self.is_copy(&at, stat)? {
            let first = first.escape_ascii();
            return Ok(Some(format!("it is not a hard link to '{first}'")));
        }
        Ok(None)
    }

    fn is_copy(&self, of: &[u8], stat: &Stat) -> Result<bool> {
        let open = |at: &[u8]| -> Result<File> {
            let (dir, name) = self.target.parent(at)?;
            Ok(open_file(&dir, name)?)
        };
        let size = u64::try_from(stat.st_size)?;
        let (mut one, other) = (open(of)?, open(self.at)?);
        Ok(one.metadata()?.len() == size && self.is_same(&mut one, &other, 0, size)?)
    }

    fn kind(&self, stat: &Stat, dir: &OwnedFd, name: &[u8]) -> Result<Option<String>> {
        let found = FileType::from_raw_mode(stat.st_mode);
        let device = (major(stat.st_rdev), minor(stat.st_rdev));
        let is_node = |kind, major: &u32, minor: &u32| found == kind && device == (*major, *minor);
        let is_same = match &self.entry.kind {
            Kind::File { .. } => found == FileType::RegularFile,
            Kind::Directory => found == FileType::Directory,
            Kind::Fifo => found == FileType::Fifo,
            Kind::CharDevice(major, minor) => is_node(FileType::CharacterDevice, major, minor),
            Kind::BlockDevice(major, minor) => is_node(FileType::BlockDevice, major, minor),
            Kind::Symlink(target) => {
                found == FileType::Symlink
                    && readlinkat(dir, name, Vec::new())?.to_bytes() == &target[..]
            }
            Kind::HardLink(_) => true,
        };
        Ok((!is_same).then(|| "it has another type or link target".to_owned()))
    }

    /// Compares mode, owner, time, size and attributes. If a new file gets the same deviation, the file
    /// system does not support the value.
    fn facts(&self, stat: &Stat, found: &OwnedFd, wanted: &Attributes) -> Result<Option<String>> {
        if let Kind::File { .. } = self.entry.kind {
            let size = u64::try_from(stat.st_size)?;
            if size != self.entry.size {
                return Ok(Some(format!("its size is {size}, not {}", self.entry.size)));
            }
        }
        let mut all = Vec::new();
        let is_link = matches!(self.entry.kind, Kind::Symlink(_));
        let (mode, wanted_mode) = (mode(stat), wanted.mode_with_acl());
        if !is_link && mode != wanted_mode {
            let text = format!("its mode is {mode:04o}, not {wanted_mode:04o}");
            all.push((Odd::Mode, text));
        }
        if let Some(owner) = wanted.owner.filter(|it| *it != owner(stat)) {
            let (uid, gid) = self::owner(stat);
            let text = format!("its owner is {uid}:{gid}, not {}:{}", owner.0, owner.1);
            all.push((Odd::Owner, text));
        }
        if mtime(stat) != (wanted.mtime.secs, i64::from(wanted.mtime.nanos)) {
            all.push((Odd::Time, format!("its {} differs", Odd::Time.what())));
        }
        for (name, value) in &wanted.xattrs {
            if xattr(found, name, value.len())?.as_deref() != Some(value) {
                let odd = Odd::Attribute(name, value.len());
                let text = format!("its {} differs", odd.what());
                all.push((odd, text));
            }
        }
        if all.is_empty() {
            return Ok(None);
        }
        let probe = Probe::make(self.target, &self.entry.kind, wanted)?;
        for (odd, text) in all {
            let is_held = match odd {
                Odd::Mode => self::mode(&probe.stat) != mode,
                Odd::Owner => self::owner(&probe.stat) != owner(stat),
                Odd::Time => {
                    let probed = mtime(&probe.stat);
                    let is_ignored = probed.0.abs_diff(wanted.mtime.secs) > COARSEST_SECS;
                    probed != mtime(stat) && !is_ignored
                }
                Odd::Attribute(name, length) => {
                    xattr(&probe.opened, name, length)? != xattr(found, name, length)?
                }
            };
            if is_held {
                return Ok(Some(text));
            }
            let why = "this file system does not store it as it is in the archive";
            self.observer
                .unsupported(&self.entry.path, &odd.what(), why);
        }
        Ok(None)
    }

    /// Makes a file or directory readable, unless root runs it.
    fn open_up(&self, stat: &Stat, special: &OwnedFd) -> io::Result<()> {
        let wanted = match self.entry.kind {
            Kind::Directory => 0o700,
            Kind::File { .. } => 0o400,
            _ => return Ok(()),
        };
        if stat.st_mode & wanted != wanted && !rustix::process::geteuid().is_root() {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777 | wanted);
            chmodat(CWD, by_proc(special), mode, AtFlags::empty())?;
        }
        Ok(())
    }

    fn content(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        content: &mut dyn Read,
    ) -> Result<Option<String>> {
        let file = open_file(dir, name)?;
        let mut at = 0;
        let mut is_same = true;
        for extent in self.entry.data().iter() {
            is_same = is_same
                && self.is_zero(&file, at, extent.offset)?
                && self.is_same(content, &file, extent.offset, extent.length)?;
            at = extent.offset + extent.length;
        }
        is_same = is_same && self.is_zero(&file, at, self.entry.size)?;
        Ok((!is_same).then(|| "its content differs".to_owned()))
    }

    /// Whether a file has zeros in a range. Holes are not read.
    fn is_zero(&self, file: &File, from: u64, to: u64) -> Result<bool> {
        let mut at = from;
        while let Some(data) = next_data(file, at, to)? {
            let bytes = data.end - data.start;
            if !self.is_same(&mut io::repeat(0), file, data.start, bytes)? {
                return Ok(false);
            }
            at = data.end;
        }
        Ok(true)
    }

    /// Whether `count` bytes of a file equal the next ones of a reader.
    fn is_same(&self, one: &mut dyn Read, file: &File, at: u64, count: u64) -> Result<bool> {
        let mut buffers = [vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]];
        let mut done = 0;
        while done < count {
            ensure!(!self.observer.is_stopped(), "interrupted");
            let piece = usize::try_from(count - done).unwrap_or(usize::MAX);
            let piece = piece.min(BUFFER_BYTES);
            let [a, b] = &mut buffers;
            one.read_exact(&mut a[..piece])?;
            match file.read_exact_at(&mut b[..piece], at + done) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                read => read?,
            }
            if a[..piece] != b[..piece] {
                return Ok(false);
            }
            done += piece as u64;
        }
        Ok(true)
    }
}

/// A deviation from the archive.
enum Odd<'a> {
    Mode,
    Owner,
    Time,
    /// Name, and length of the value.
    Attribute(&'a [u8], usize),
}

impl Odd<'_> {
    fn what(&self) -> String {
        match self {
            Self::Mode => "mode".to_owned(),
            Self::Owner => "owner".to_owned(),
            Self::Time => "time of modification".to_owned(),
            Self::Attribute(name, _) => format!("attribute '{}'", name.escape_ascii()),
        }
    }
}

fn mode(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

fn owner(stat: &Stat) -> (u32, u32) {
    (stat.st_uid, stat.st_gid)
}

fn mtime(stat: &Stat) -> (i64, i64) {
    (stat.st_mtime, stat.st_mtime_nsec.cast_signed())
}

/// The value of an attribute; `None` if there is none, or one of another length.
fn xattr(opened: &OwnedFd, name: &[u8], length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; length + 1];
    match getxattr(&by_proc(opened)[..], name, &mut value[..]) {
        Ok(found) => {
            value.truncate(found);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::RANGE | Errno::PERM | Errno::ACCESS) => Ok(None),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens a file to be read from the disk and not from the cache, if possible.
fn open_file(dir: &OwnedFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty())?;
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    Ok(File::from(file))
}

/// A temporary file of some kind, with attributes as far as the file system supports them: whole
/// seconds, no ACLs, one owner for all. This distinguishes what it does not support from what was
/// lost.
struct Probe<'a> {
    dir: &'a Beneath,
    is_dir: bool,
    opened: OwnedFd,
    stat: Stat,
}

impl<'a> Probe<'a> {
    /// Creates it; fails as an entry of that kind would.
    fn make(dir: &'a Beneath, kind: &Kind, wanted: &Attributes) -> io::Result<Self> {
        let root = dir.root();
        let own = Mode::RUSR | Mode::WUSR;
        match kind {
            Kind::Directory => mkdirat(root, PROBE_NAME, Mode::RWXU)?,
            Kind::Symlink(target) => symlinkat(&target[..], root, PROBE_NAME)?,
            Kind::Fifo | Kind::CharDevice(..) | Kind::BlockDevice(..) => {
                mknodat(root, PROBE_NAME, FileType::Fifo, own, 0)?;
            }
            _ => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                drop(File::from(openat(root, PROBE_NAME, flags, own)?));
            }
        }
        let opened = openat(root, PROBE_NAME, OPEN_PATH, Mode::empty())?;
        let mut probe = Self {
            dir,
            is_dir: matches!(kind, Kind::Directory),
            stat: fstat(&opened)?,
            opened,
        };
        let made = match kind {
            Kind::Symlink(_) => Made::Link(probe.opened.as_fd(), root, PROBE_NAME),
            _ => Made::Special(probe.opened.as_fd(), root, PROBE_NAME),
        };
        // What is not supported is visible in the result.
        wanted.give(&made)?;
        probe.stat = fstat(&probe.opened)?;
        Ok(probe)
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        let flags = if self.is_dir {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        // The stage is removed anyway.
        let _ = unlinkat(self.dir.root(), PROBE_NAME, flags);
    }
}
