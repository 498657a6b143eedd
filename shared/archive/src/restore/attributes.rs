//! Owner, mode, times and extended attributes of an entry: what may be restored of them, and
//! how that is done by descriptors.
//!
//! Knows no archive and no order of work.

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

/// What may be restored beside content, permissions and times.
#[derive(Debug, Default)]
pub struct Rights {
    /// Owners and groups.
    pub owners: Owners,
    /// Whom the names of owners and in ACLs mean.
    pub ids: Ids,
    /// Device nodes.
    pub devices: bool,
    /// Attributes of the name spaces `security` and `trusted`.
    pub privileged: bool,
}

/// How owners are found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// All is left to whoever restores.
    #[default]
    Left,
    /// By number alone.
    ByNumber,
    /// By name where this machine has it, as tar(1) does, else by number.
    ByName,
}

/// What an entry is to have once it is restored.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mtime: FileTime,
    pub(crate) xattrs: Xattrs,
}

/// What of an entry is left out.
#[derive(Debug)]
pub enum Skipped {
    /// Of this entry, for people.
    Entry(String),
    /// What the file system does not hold, and most likely not of others either; and why.
    Unsupported(String, io::Error),
}

impl Rights {
    /// What an entry is to have, and what it is not to have of what the archive tells.
    pub(crate) fn attributes(&self, entry: &Entry) -> (Attributes, Vec<Skipped>) {
        let mut skipped = Vec::new();
        let mut owner = self.owner(entry);
        // To chown(2) it means to leave the owner as it is.
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

    /// The value of the attribute that an ACL as text stands for; `None` where a file system
    /// would keep none.
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

/// What the attributes are given to.
pub(crate) enum Made<'a> {
    /// A file or a directory, opened.
    Open(BorrowedFd<'a>),
    /// Anything else: opened by O_PATH, with the directory that holds it and its name.
    Special(BorrowedFd<'a>, BorrowedFd<'a>, &'a [u8]),
    /// A symbolic link, in the same way: it has no mode.
    Link(BorrowedFd<'a>, BorrowedFd<'a>, &'a [u8]),
}

impl Attributes {
    /// The mode once all is given: the ACL that governs access has its part in it.
    pub(crate) fn mode_with_acl(&self) -> u32 {
        let mut acls = self.xattrs.iter().filter(|(name, _)| name == acl::ACCESS);
        let bits = acls.find_map(|(_, value)| acl::mode(value));
        bits.map_or(self.mode, |bits| self.mode & !0o777 | bits)
    }

    /// Gives them, the owner first as that takes away others, and after the mode the ACL that
    /// governs access: bsdtar writes the group's own permissions into the mode, where a file
    /// shows the mask. What the file system does not take is left out.
    ///
    /// # Errors
    /// Those of owner, mode and times, but for refusals.
    pub(crate) fn give(&self, made: &Made<'_>) -> io::Result<Vec<Skipped>> {
        let mut skipped = Vec::new();
        let mut mode = self.mode;
        if let Some((uid, gid)) = self.owner {
            let given = give_owner(made, Uid::from_raw(uid), Gid::from_raw(gid));
            let is_so = |stat: Stat| (stat.st_uid, stat.st_gid) == (uid, gid);
            let given = unless(given, made, is_so);
            if !held(given, "owner", &mut skipped)? {
                // They would be another user's.
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

/// What is refused does not matter where it is so already.
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

/// Whether the file system has taken it. A share that maps all to one user, FAT and many of FUSE
/// refuse what others take.
fn held(given: rustix::io::Result<()>, what: &str, skipped: &mut Vec<Skipped>) -> io::Result<bool> {
    match given {
        Err(error) if is_refusal(error) => {
            skipped.push(Skipped::Unsupported(what.to_owned(), error.into()));
            Ok(false)
        }
        given => Ok(given.map(|()| true)?),
    }
}

/// Whether a file system says so of what it cannot do.
pub(crate) fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL
    )
}

/// The ACL that governs access, or all others.
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

/// Leads to what was opened by O_PATH, whatever has its name by now.
pub(crate) fn by_proc(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

fn times(mtime: FileTime) -> Timestamps {
    Timestamps {
        // As it is in what was just made. Many of FUSE pass over a time that comes alone.
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
