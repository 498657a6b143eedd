//! Probes what the file system makes of attributes, on a temporary file: whole seconds, no ACLs, one
//! owner for all. This distinguishes what it does not support from what was lost.
//!
//! Knows no archive.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, mkdirat, mknodat, openat, symlinkat, unlinkat,
};

use crate::format::entry::Kind;
use crate::restore::attributes::{Attributes, Made};
use crate::restore::beneath::Beneath;

/// Next to the first directory of what is restored.
const NAME: &[u8] = b"probe";

/// A temporary file of some kind, with attributes as far as they are supported.
pub(crate) struct Probe<'a> {
    dir: &'a Beneath,
    is_dir: bool,
    pub(crate) opened: OwnedFd,
    pub(crate) stat: Stat,
}

impl<'a> Probe<'a> {
    /// Creates it; fails as an entry of that kind would.
    pub(crate) fn make(dir: &'a Beneath, kind: &Kind, wanted: &Attributes) -> io::Result<Self> {
        let root = dir.root();
        let own = Mode::RUSR | Mode::WUSR;
        match kind {
            Kind::Directory => mkdirat(root, NAME, Mode::RWXU)?,
            Kind::Symlink(target) => symlinkat(&target[..], root, NAME)?,
            Kind::Fifo | Kind::CharDevice(..) | Kind::BlockDevice(..) => {
                mknodat(root, NAME, FileType::Fifo, own, 0)?;
            }
            _ => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                drop(File::from(openat(root, NAME, flags, own)?));
            }
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(root, NAME, flags, Mode::empty())?;
        let mut probe = Self {
            dir,
            is_dir: matches!(kind, Kind::Directory),
            stat: fstat(&opened)?,
            opened,
        };
        let made = match kind {
            Kind::Symlink(_) => Made::Link(probe.opened.as_fd(), root, NAME),
            _ => Made::Special(probe.opened.as_fd(), root, NAME),
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
        let _ = unlinkat(self.dir.root(), NAME, flags);
    }
}
