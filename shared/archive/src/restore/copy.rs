//! Copies the attributes of a file or directory to another one: owner, mode, time, xattrs; and copies
//! a file with all of these, if hard links are not possible.
//!
//! Knows no archive.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt as _;

use anyhow::Result;
use rustix::fs::{
    AtFlags, Mode, OFlags, SeekFrom, Stat, fremovexattr, fstat, openat, seek, unlinkat,
};
use rustix::io::Errno;
use xattr::FileExt as _;

use crate::format::entry::FileTime;
use crate::restore::attributes::{Attributes, Made, Skipped};

/// The size of the copy buffer.
const PIECE_BYTES: usize = 64 << 10;

const ACLS: [&str; 2] = ["system.posix_acl_default", "system.posix_acl_access"];

impl Attributes {
    /// Those of an open file; `stat` is from before it was opened.
    pub fn of(opened: impl AsFd, stat: &Stat) -> io::Result<Self> {
        Ok(Self {
            mode: stat.st_mode & 0o7777,
            owner: Some((stat.st_uid, stat.st_gid)),
            mtime: FileTime {
                secs: stat.st_mtime,
                nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
            },
            xattrs: xattrs(opened.as_fd())?,
        })
    }

    /// Gives an open file these alone; what the file system does not support is skipped.
    pub fn copy_to(&self, to: impl AsFd) -> io::Result<Vec<Skipped>> {
        let to = to.as_fd();
        let found = fstat(to)?;
        let mut attributes = self.clone();
        // Only root can change owners.
        let is_root = rustix::process::geteuid().is_root();
        let is_given = |owner: &(u32, u32)| is_root && *owner != (found.st_uid, found.st_gid);
        attributes.owner = attributes.owner.filter(is_given);
        for name in ACLS {
            let is_kept = |(kept, _): &(Vec<u8>, Vec<u8>)| kept == name.as_bytes();
            if !attributes.xattrs.iter().any(is_kept) {
                // Usually there is none. If removing it fails, the mode still limits it.
                let _ = fremovexattr(to, name);
            }
        }
        attributes.give(&Made::Open(to))
    }
}

fn xattrs(of: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let file = File::from(of.try_clone_to_owned()?);
    let names = match file.list_xattr() {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Vec::new()),
        names => names?,
    };
    let mut all = Vec::new();
    for name in names {
        if let Some(value) = file.get_xattr(&name)? {
            all.push((name.into_vec(), value));
        }
    }
    Ok(all)
}

/// Copies a regular file with its holes; `take` gets the number of bytes before each write. On an
/// error the copy is removed.
pub(crate) fn copy_file(
    (from_dir, from): (BorrowedFd<'_>, &[u8]),
    (to_dir, to): (BorrowedFd<'_>, &[u8]),
    take: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<Skipped>> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let read = flags | OFlags::RDONLY;
    let source = File::from(openat(from_dir, from, read, Mode::empty())?);
    let new = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let copy = File::from(openat(to_dir, to, new, Mode::RUSR | Mode::WUSR)?);
    let copied = copy_data(&source, &copy, take)
        .and_then(|()| Ok(Attributes::of(&source, &fstat(&source)?)?.copy_to(&copy)?));
    if copied.is_err() {
        // Report the first error; the stage is removed anyway.
        let _ = unlinkat(to_dir, to, AtFlags::empty());
    }
    copied
}

/// The next run of data of a file from `at` on and before `end`.
pub(crate) fn next_data(file: &File, at: u64, end: u64) -> io::Result<Option<Range<u64>>> {
    let begin = match seek(file, SeekFrom::Data(at)) {
        Err(Errno::NXIO) => return Ok(None),
        // It does not support that: all may be data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
        begin => begin?,
    };
    let hole = seek(file, SeekFrom::Hole(begin)).unwrap_or(end);
    Ok((begin < end).then_some(begin..hole.min(end)))
}

fn copy_data(from: &File, to: &File, take: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
    let size = from.metadata()?.len();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    while let Some(data) = next_data(from, at, size)? {
        at = data.start;
        while at < data.end {
            let piece = usize::try_from(data.end - at).unwrap_or(usize::MAX);
            let piece = &mut buffer[..piece.min(PIECE_BYTES)];
            take(piece.len() as u64)?;
            from.read_exact_at(piece, at)?;
            // Keep holes that the file system does not report.
            if piece.iter().any(|byte| *byte != 0) {
                to.write_all_at(piece, at)?;
            }
            at += piece.len() as u64;
        }
    }
    Ok(to.set_len(size)?)
}
