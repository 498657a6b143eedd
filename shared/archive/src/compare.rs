//! What was restored, read back and compared with what the archive tells.
//!
//! Reads the archive again from its begin. Meant for a directory that was just restored to and
//! that nobody else needs: what this user may not read is opened up to him once its mode was
//! looked at.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Result, ensure};
use rustix::fs::{
    Advice, AtFlags, CWD, FileType, Mode, OFlags, Stat, chmodat, fadvise, getxattr, major, minor,
    openat, readlinkat, statat,
};
use rustix::io::Errno;

use crate::attributes::{Attributes, by_proc};
use crate::beneath::Beneath;
use crate::entries::Entries;
use crate::entry::{Entry, Extent, Kind};
use crate::extract::{Observer, Plan};
use crate::names::plain;

const BUFFER_BYTES: usize = 64 << 10;

/// Tells `differs` of every entry that is not as the archive has it, and how; returns how many
/// entries were compared.
///
/// # Errors
/// A damaged archive, and having been stopped.
pub fn compare(
    archive: &File,
    target: &Beneath,
    plan: &Plan<'_>,
    observer: &dyn Observer,
    mut differs: impl FnMut(&[u8], &str),
) -> Result<u64> {
    let is_stopped = || observer.is_stopped();
    let mut reader = Entries::read(archive, plan.sought, plan.jobs, &is_stopped)?;
    reader.salvage(plan.salvages);
    let mut count = 0;
    while let Some(entry) = reader.next_entry()? {
        ensure!(!observer.is_stopped(), "interrupted");
        let Some(at) = (plan.place)(&plain(&entry.path)?) else {
            continue;
        };
        let comparison = Comparison {
            target,
            plan,
            entry: &entry,
            at: &at,
        };
        match comparison.difference(&mut reader.content()) {
            Ok(None) => {}
            Ok(Some(what)) => differs(&entry.path, &what),
            // The archive's own errors come again at the next entry.
            Err(error) => differs(&entry.path, &format!("{error:#}")),
        }
        count += 1;
    }
    Ok(count)
}

struct Comparison<'a> {
    target: &'a Beneath,
    plan: &'a Plan<'a>,
    entry: &'a Entry,
    at: &'a [u8],
}

impl Comparison<'_> {
    /// The first difference.
    fn difference(&self, content: &mut dyn Read) -> Result<Option<String>> {
        let is_device = matches!(
            self.entry.kind,
            Kind::CharDevice(..) | Kind::BlockDevice(..)
        );
        if matches!(self.entry.kind, Kind::Unknown(_)) || (is_device && !self.plan.rights.devices) {
            return Ok(None);
        }
        let (dir, name) = self.target.parent(self.at)?;
        let stat = match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) if self.is_link_to_left_out() => return Ok(None),
            stat => stat.map_err(io::Error::from)?,
        };
        if let Kind::HardLink(first) = &self.entry.kind {
            return self.hard_link(&stat, first);
        }
        let (wanted, _) = self.plan.rights.attributes(self.entry);
        let special = openat(
            &dir,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        if let Some(what) = self.kind(&stat, &dir, name)? {
            return Ok(Some(what));
        }
        if let Some(what) = facts(&stat, &wanted, self.entry)? {
            return Ok(Some(what));
        }
        if let Some(what) = xattrs(&special, &wanted) {
            return Ok(Some(what));
        }
        self.open_up(&stat, &special)?;
        match &self.entry.kind {
            Kind::File { extents } => self.content(&dir, name, extents.as_deref(), content),
            _ => Ok(None),
        }
    }

    /// A further name of a device that was left out.
    fn is_link_to_left_out(&self) -> bool {
        matches!(self.entry.kind, Kind::HardLink(_)) && !self.plan.rights.devices
    }

    fn hard_link(&self, stat: &Stat, first: &[u8]) -> Result<Option<String>> {
        let Some(at) = (self.plan.place)(&plain(first)?) else {
            return Ok(None);
        };
        let there = self.target.look(&at)?;
        let is_same = (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino);
        Ok((!is_same).then(|| format!("it is no hard link to '{}'", first.escape_ascii())))
    }

    fn kind(&self, stat: &Stat, dir: &OwnedFd, name: &[u8]) -> Result<Option<String>> {
        let found = FileType::from_raw_mode(stat.st_mode);
        let device = (major(stat.st_rdev), minor(stat.st_rdev));
        let is_same = match &self.entry.kind {
            Kind::File { .. } => found == FileType::RegularFile,
            Kind::Directory => found == FileType::Directory,
            Kind::Fifo => found == FileType::Fifo,
            Kind::CharDevice(major, minor) => {
                found == FileType::CharacterDevice && device == (*major, *minor)
            }
            Kind::BlockDevice(major, minor) => {
                found == FileType::BlockDevice && device == (*major, *minor)
            }
            Kind::Symlink(target) => {
                found == FileType::Symlink
                    && readlinkat(dir, name, Vec::new())?.to_bytes() == &target[..]
            }
            Kind::HardLink(_) | Kind::Unknown(_) => true,
        };
        Ok((!is_same).then(|| "it is something else, or leads elsewhere".to_owned()))
    }

    /// What root can read, others can only with permission.
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
        dir: impl AsFd,
        name: &[u8],
        extents: Option<&[Extent]>,
        content: &mut dyn Read,
    ) -> Result<Option<String>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(dir, name, flags, Mode::empty())?;
        // From the disk, not from memory; where that cannot be asked for, it is still the file.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        let mut file = io::BufReader::with_capacity(BUFFER_BYTES, File::from(file));
        let whole = [Extent {
            offset: 0,
            length: self.entry.size,
        }];
        let mut at = 0;
        for extent in extents.unwrap_or(&whole) {
            let hole = extent.offset - at;
            let is_same = same(&mut io::repeat(0).take(hole), &mut file, hole)?
                && same(content, &mut file, extent.length)?;
            if !is_same {
                return Ok(Some("its content differs".to_owned()));
            }
            at = extent.offset + extent.length;
        }
        let hole = self.entry.size - at;
        let is_same = same(&mut io::repeat(0).take(hole), &mut file, hole)?;
        let is_over = file.read(&mut [0])? == 0;
        Ok((!is_same || !is_over).then(|| "its content differs".to_owned()))
    }
}

/// Whether so many bytes of both are the same.
fn same(one: &mut dyn Read, other: &mut dyn Read, count: u64) -> io::Result<bool> {
    let mut buffers = [[0; 16 << 10]; 2];
    let mut left = count;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX);
        let piece = piece.min(buffers[0].len());
        let [a, b] = &mut buffers;
        one.read_exact(&mut a[..piece])?;
        match other.read_exact(&mut b[..piece]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if a[..piece] != b[..piece] {
            return Ok(false);
        }
        left -= piece as u64;
    }
    Ok(true)
}

fn facts(stat: &Stat, wanted: &Attributes, entry: &Entry) -> Result<Option<String>> {
    let is_link = matches!(entry.kind, Kind::Symlink(_));
    let mode = stat.st_mode & 0o7777;
    let wanted_mode = wanted.mode_with_acl();
    if !is_link && mode != wanted_mode {
        return Ok(Some(format!(
            "its mode is {mode:04o}, not {wanted_mode:04o}"
        )));
    }
    if let Some(owner) = wanted.owner.filter(|it| *it != (stat.st_uid, stat.st_gid)) {
        let (uid, gid) = (stat.st_uid, stat.st_gid);
        return Ok(Some(format!(
            "its owner is {uid}:{gid}, not {}:{}",
            owner.0, owner.1
        )));
    }
    let mtime = (stat.st_mtime, u32::try_from(stat.st_mtime_nsec)?);
    if mtime != (wanted.mtime.secs, wanted.mtime.nanos) {
        return Ok(Some("its time of modification differs".to_owned()));
    }
    if let Kind::File { .. } = entry.kind {
        let size = u64::try_from(stat.st_size)?;
        if size != entry.size {
            return Ok(Some(format!("its size is {size}, not {}", entry.size)));
        }
    }
    Ok(None)
}

fn xattrs(special: &OwnedFd, wanted: &Attributes) -> Option<String> {
    let path = by_proc(special);
    for (name, value) in &wanted.xattrs {
        let mut found = vec![0; value.len() + 1];
        let length = getxattr(&path[..], &name[..], &mut found[..]);
        if length.ok().map(|length| &found[..length]) != Some(&value[..]) {
            return Some(format!("its attribute '{}' differs", name.escape_ascii()));
        }
    }
    None
}
