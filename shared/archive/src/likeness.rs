//! Gives a file or a directory what another one has: owner, mode, time, attributes; and copies a
//! file with all of these, where there is no hard link to be had.
//!
//! Knows no archive.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{AtFlags, Mode, OFlags, fremovexattr, fstat, openat, unlinkat};
use xattr::FileExt as _;

use crate::attributes::{Attributes, LeftOut, Made};
use crate::entry::FileTime;

const ACLS: [&str; 2] = ["system.posix_acl_default", "system.posix_acl_access"];

/// Gives `to` what `from` has, both open.
///
/// # Errors
/// Those of the file system; what it refuses is left out.
pub fn give(from: impl AsFd, to: impl AsFd) -> io::Result<Vec<LeftOut>> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let (wanted, found) = (fstat(from)?, fstat(to)?);
    let owner = (wanted.st_uid, wanted.st_gid);
    let attributes = Attributes {
        mode: wanted.st_mode & 0o7777,
        owner: (owner != (found.st_uid, found.st_gid)).then_some(owner),
        mtime: FileTime {
            secs: wanted.st_mtime,
            nanos: u32::try_from(wanted.st_mtime_nsec).unwrap_or_default(),
        },
        xattrs: xattrs(from)?,
    };
    for name in ACLS {
        let is_kept = |(kept, _): &(Vec<u8>, Vec<u8>)| kept == name.as_bytes();
        if !attributes.xattrs.iter().any(is_kept) {
            // There is none in most cases, and where it stays the mode tells of it.
            let _ = fremovexattr(to, name);
        }
    }
    attributes.give(&Made::Open(to))
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

/// Copies a regular file under a new name.
///
/// # Errors
/// Those of the file system; nothing is left of it then.
pub(crate) fn copy_file(
    (from_dir, from): (BorrowedFd<'_>, &[u8]),
    (to_dir, to): (BorrowedFd<'_>, &[u8]),
) -> io::Result<Vec<LeftOut>> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut source = File::from(openat(
        from_dir,
        from,
        flags | OFlags::RDONLY,
        Mode::empty(),
    )?);
    let new = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut copy = File::from(openat(to_dir, to, new, Mode::RUSR | Mode::WUSR)?);
    let copied = io::copy(&mut source, &mut copy).and_then(|_| give(&source, &copy));
    if copied.is_err() {
        // The first error is the one to tell; the whole stage goes with it.
        let _ = unlinkat(to_dir, to, AtFlags::empty());
    }
    copied
}
