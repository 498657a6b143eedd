//! Owner, mode, times and extended attributes of an entry: what may be restored, and how to set it
//! by descriptors.
//!
//! Knows no archive.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::Result;
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Stat, Timespec, Timestamps, UTIME_NOW, Uid, XattrFlags, chmodat,
    chownat, fchmod, fchown, fsetxattr, fstat, futimens, setxattr, utimensat,
};
use rustix::io::Errno;

use crate::accounts::Ids;
use crate::format::acl::{self, Acl};
use crate::format::entry::{Entry, FileTime, Xattrs};

/// What may be restored besides content, permissions and times.
#[derive(Debug, Default)]
pub struct Rights {
    /// Owners and groups.
    pub owners: Owners,
    /// The users and groups for names of owners and in ACLs.
    pub ids: Ids,
    /// Device nodes.
    pub devices: bool,
    /// Attributes of the name spaces `security` and `trusted`.
    pub privileged: bool,
}

/// How to restore owners.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Not at all: files belong to the user who restores.
    #[default]
    Left,
    /// By number alone.
    ByNumber,
    /// By name if this machine has it, else by number, as tar(1) does.
    ByName,
}

/// The attributes that a file, a directory or another entry gets.
#[derive(Debug, Clone)]
pub struct Attributes {
    pub(crate) mode: u32,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mtime: FileTime,
    pub(crate) xattrs: Xattrs,
}

/// Something of an entry that is not restored.
#[derive(Debug)]
pub enum Skipped {
    /// For this entry, with the reason.
    Entry(String),
    /// Not supported by the file system, so probably for other entries neither.
    Unsupported(String, io::Error),
}

impl Rights {
    /// The attributes of an entry, and what is not restored of it.
    pub(crate) fn attributes(&self, entry: &Entry) -> (Attributes, Vec<Skipped>) {
        let mut skipped = Vec::new();
        let mut owner = self.owner(entry);
        // chown(2) would leave the owner unchanged.
        if owner.is_some_and(|(uid, gid)| uid == u32::MAX || gid == u32::MAX) {
            owner = None;
            skipped.push(Skipped::Entry(
                "its owner, which is out of range".to_owned(),
            ));
        }
        let special = entry.mode & 0o6000;
        if owner.is_none() && special != 0 {
            let what = "its setuid and setgid bits: this needs root or --same-owner";
            skipped.push(Skipped::Entry(what.to_owned()));
        }
        let is_kept = |(name, _): &&(Vec<u8>, Vec<u8>)| self.privileged || !is_privileged(name);
        for (name, _) in entry.xattrs.iter().filter(|it| !is_kept(it)) {
            skipped.push(unset(name, "this needs root"));
        }
        let mut xattrs: Xattrs = entry.xattrs.iter().filter(is_kept).cloned().collect();
        for (name, text) in &entry.acl_texts {
            match self.acl(name, text) {
                Ok(value) => xattrs.extend(value.map(|value| (name.clone(), value))),
                Err(error) => skipped.push(unset(name, error)),
            }
        }
        let attributes = Attributes {
            mode: match owner {
                Some(_) => entry.mode & 0o7777,
                None => entry.mode & 0o1777,
            },
            owner,
            mtime: entry.mtime,
            xattrs,
        };
        (attributes, skipped)
    }

    fn owner(&self, entry: &Entry) -> Option<(u32, u32)> {
        match self.owners {
            Owners::Left => None,
            Owners::ByNumber => Some((entry.uid, entry.gid)),
            Owners::ByName => {
                let user = self.ids.users.get(&entry.uname).copied();
                let group = self.ids.groups.get(&entry.gname).copied();
                Some((user.unwrap_or(entry.uid), group.unwrap_or(entry.gid)))
            }
        }
    }

    /// The attribute for an ACL in text form; `None` if the file system would not store it.
    fn acl(&self, name: &[u8], text: &[u8]) -> Result<Option<Vec<u8>>> {
        let acl = Acl::parse(text, &self.ids)?;
        let is_kept = match name == acl::ACCESS {
            true => !acl.is_mode_alone(),
            false => !acl.is_empty(),
        };
        Ok(is_kept.then(|| acl.bytes()))
    }
}

fn unset(name: &[u8], error: impl Display) -> Skipped {
    Skipped::Entry(format!("its attribute '{}': {error}", name.escape_ascii()))
}

fn is_privileged(name: &[u8]) -> bool {
    name.starts_with(b"security.") || name.starts_with(b"trusted.")
}

/// The file that attributes are set on.
pub(crate) enum Made<'a> {
    /// A file or a directory, opened.
    Open(BorrowedFd<'a>),
    /// Anything else: opened with O_PATH, with its directory and name.
    Special(BorrowedFd<'a>, BorrowedFd<'a>, &'a [u8]),
    /// A symbolic link, likewise; it has no mode.
    Link(BorrowedFd<'a>, BorrowedFd<'a>, &'a [u8]),
}

impl Attributes {
    /// The mode after setting everything: the access ACL changes its group bits.
    pub(crate) fn mode_with_acl(&self) -> u32 {
        let mut acls = self.xattrs.iter().filter(|(name, _)| name == acl::ACCESS);
        let bits = acls.find_map(|(_, value)| acl::mode(value));
        bits.map_or(self.mode, |bits| self.mode & !0o777 | bits)
    }

    /// Sets them. The owner comes first, as changing it clears others. The access ACL comes after the
    /// mode: bsdtar stores the group's own permissions in the mode, a file shows the mask there.
    /// What the file system does not support is skipped.
    pub(crate) fn give(&self, made: &Made<'_>) -> io::Result<Vec<Skipped>> {
        let mut skipped = Vec::new();
        let mut mode = self.mode;
        if let Some((uid, gid)) = self.owner {
            let given = give_owner(made, Uid::from_raw(uid), Gid::from_raw(gid));
            let is_so = |stat: Stat| (stat.st_uid, stat.st_gid) == (uid, gid);
            let given = unless(given, made, is_so);
            if !held(given, "owner", &mut skipped)? {
                // setuid and setgid would grant the rights of another user.
                mode &= 0o1777;
            }
        }
        give_xattrs(made, &self.xattrs, false, &mut skipped);
        let bits = Mode::from_raw_mode(mode);
        let given = match made {
            Made::Open(fd) => fchmod(fd, bits),
            Made::Special(fd, ..) => chmodat(CWD, by_proc(*fd), bits, AtFlags::empty()),
            Made::Link(..) => Ok(()),
        };
        let given = unless(given, made, |stat| stat.st_mode & 0o7777 == mode);
        held(given, "mode", &mut skipped)?;
        give_xattrs(made, &self.xattrs, true, &mut skipped);
        let times = times(self.mtime);
        let given = match made {
            Made::Open(fd) => futimens(fd, &times),
            Made::Special(_, dir, name) | Made::Link(_, dir, name) => {
                utimensat(dir, *name, &times, AtFlags::SYMLINK_NOFOLLOW)
            }
        };
        held(given, "time of modification", &mut skipped)?;
        Ok(skipped)
    }
}

/// A refusal does not matter if the value is right already.
fn unless(
    given: rustix::io::Result<()>,
    made: &Made<'_>,
    is_so: impl Fn(Stat) -> bool,
) -> rustix::io::Result<()> {
    let (Made::Open(fd) | Made::Special(fd, ..) | Made::Link(fd, ..)) = made;
    given.or_else(|error| match fstat(fd) {
        Ok(stat) if is_so(stat) => Ok(()),
        _ => Err(error),
    })
}

/// Whether the file system has accepted it. FAT, many FUSE file systems, and shares that map all
/// users to one, refuse some attributes.
fn held(given: rustix::io::Result<()>, what: &str, skipped: &mut Vec<Skipped>) -> io::Result<bool> {
    match given {
        Err(error) if is_refusal(error) => {
            skipped.push(Skipped::Unsupported(what.to_owned(), error.into()));
            Ok(false)
        }
        given => Ok(given.map(|()| true)?),
    }
}

/// Whether an error means that the file system does not support something.
pub(crate) fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL
    )
}

/// Sets the access ACL, or all other attributes.
fn give_xattrs(made: &Made<'_>, xattrs: &Xattrs, is_access: bool, skipped: &mut Vec<Skipped>) {
    let meant = |(name, _): &&(Vec<u8>, Vec<u8>)| (name == acl::ACCESS) == is_access;
    for (name, value) in xattrs.iter().filter(meant) {
        if let Err(error) = give_xattr(made, name, value) {
            skipped.push(unset(name, error));
        }
    }
}

fn give_xattr(made: &Made<'_>, name: &[u8], value: &[u8]) -> io::Result<()> {
    match made {
        Made::Open(fd) => fsetxattr(fd, name, value, XattrFlags::empty())?,
        Made::Special(fd, ..) | Made::Link(fd, ..) => {
            setxattr(by_proc(*fd), name, value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

fn give_owner(made: &Made<'_>, uid: Uid, gid: Gid) -> rustix::io::Result<()> {
    match made {
        Made::Open(fd) => fchown(fd, Some(uid), Some(gid)),
        Made::Special(fd, ..) | Made::Link(fd, ..) => {
            chownat(fd, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
        }
    }
}

/// A path to what was opened with O_PATH, whatever has its name now.
pub(crate) fn by_proc(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

fn times(mtime: FileTime) -> Timestamps {
    Timestamps {
        // The current time; many FUSE file systems ignore a single time.
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
        last_modification: Timespec {
            tv_sec: mtime.secs,
            tv_nsec: mtime.nanos.into(),
        },
    }
}
