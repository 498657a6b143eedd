//! Owner, mode, times and extended attributes of an entry: what may be restored of them, and
//! how that is done by descriptors.
//!
//! Knows no archive and no order of work.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat,
    fchmod, fchown, fsetxattr, futimens, setxattr, utimensat,
};

use crate::entry::{Entry, FileTime, Xattrs};
use crate::source::names_by_id;

/// What may be restored beside content, permissions and times.
#[derive(Debug, Default)]
pub struct Rights {
    /// Owners and groups; `None` leaves all to whoever restores.
    pub owners: Option<Owners>,
    /// Device nodes.
    pub devices: bool,
    /// Attributes of the name spaces `security` and `trusted`.
    pub privileged: bool,
}

/// How owners are found.
#[derive(Debug, Default)]
pub struct Owners {
    users: HashMap<Vec<u8>, u32>,
    groups: HashMap<Vec<u8>, u32>,
}

impl Owners {
    /// By name where this machine has it, as tar(1) does, else by number.
    #[must_use]
    pub fn by_name() -> Self {
        let by_name = |path| {
            let names = names_by_id(Path::new(path));
            names.into_iter().map(|(id, name)| (name, id)).collect()
        };
        Self {
            users: by_name("/etc/passwd"),
            groups: by_name("/etc/group"),
        }
    }

    /// By number alone.
    #[must_use]
    pub fn by_number() -> Self {
        Self::default()
    }
}

/// What an entry is to have once it is restored.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mtime: FileTime,
    pub(crate) xattrs: Xattrs,
}

/// What of an entry is left out, for people.
pub(crate) type LeftOut = String;

impl Rights {
    /// What an entry is to have, and what it is not to have of what the archive tells.
    pub(crate) fn attributes(&self, entry: &Entry) -> (Attributes, Vec<LeftOut>) {
        let mut left_out = Vec::new();
        let owner = self.owners.as_ref().map(|owners| {
            let user = owners.users.get(&entry.uname).copied();
            let group = owners.groups.get(&entry.gname).copied();
            (user.unwrap_or(entry.uid), group.unwrap_or(entry.gid))
        });
        let special = entry.mode & 0o6000;
        if owner.is_none() && special != 0 {
            left_out.push("its setuid and setgid bits: that takes root or --same-owner".to_owned());
        }
        let is_kept = |(name, _): &&(Vec<u8>, Vec<u8>)| self.privileged || !is_privileged(name);
        for (name, _) in entry.xattrs.iter().filter(|it| !is_kept(it)) {
            left_out.push(format!(
                "its attribute '{}': that takes root",
                name.escape_ascii()
            ));
        }
        let attributes = Attributes {
            mode: match owner {
                Some(_) => entry.mode & 0o7777,
                None => entry.mode & 0o1777,
            },
            owner,
            mtime: entry.mtime,
            xattrs: entry.xattrs.iter().filter(is_kept).cloned().collect(),
        };
        (attributes, left_out)
    }
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
    /// Gives them, the owner first as that takes away others; an attribute that the file system
    /// does not take is left out.
    ///
    /// # Errors
    /// Those of owner, mode and times.
    pub(crate) fn give(&self, made: &Made<'_>) -> io::Result<Vec<LeftOut>> {
        let mut left_out = Vec::new();
        if let Some((uid, gid)) = self.owner {
            give_owner(made, Uid::from_raw(uid), Gid::from_raw(gid))?;
        }
        for (name, value) in &self.xattrs {
            let set = match made {
                Made::Open(fd) => fsetxattr(fd, &name[..], value, XattrFlags::empty()),
                Made::Special(fd, ..) | Made::Link(fd, ..) => {
                    setxattr(by_proc(*fd), &name[..], value, XattrFlags::empty())
                }
            };
            if let Err(error) = set {
                let name = name.escape_ascii();
                let error = io::Error::from(error);
                left_out.push(format!("its attribute '{name}': {error}"));
            }
        }
        let mode = Mode::from_raw_mode(self.mode);
        match made {
            Made::Open(fd) => fchmod(fd, mode)?,
            Made::Special(fd, ..) => chmodat(CWD, by_proc(*fd), mode, AtFlags::empty())?,
            Made::Link(..) => {}
        }
        let times = times(self.mtime);
        match made {
            Made::Open(fd) => futimens(fd, &times)?,
            Made::Special(_, dir, name) | Made::Link(_, dir, name) => {
                utimensat(dir, *name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(left_out)
    }
}

fn give_owner(made: &Made<'_>, uid: Uid, gid: Gid) -> io::Result<()> {
    match made {
        Made::Open(fd) => fchown(fd, Some(uid), Some(gid))?,
        Made::Special(fd, ..) | Made::Link(fd, ..) => {
            chownat(fd, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        }
    }
    Ok(())
}

/// Leads to what was opened by O_PATH, whatever has its name by now.
pub(crate) fn by_proc(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

fn times(mtime: FileTime) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.secs,
            tv_nsec: mtime.nanos.into(),
        },
    }
}
