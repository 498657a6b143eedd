//! What a file system makes of the attributes of an entry, tried on something that is removed
//! again: whole seconds, no ACLs, one owner for all.
//!
//! So that what it cannot hold is told from what it lost. Knows no archive.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, mkdirat, mknodat, openat, symlinkat, unlinkat,
};

use crate::format::entry::Kind;
use crate::restore::attributes::{Attributes, Made};
use crate::restore::beneath::Beneath;

/// Beside the first directory of all that is restored.
const NAME: &[u8] = b"probe";

/// Something of the kind of an entry, with the same attributes as far as it holds them.
pub(crate) struct Probe<'a> {
    dir: &'a Beneath,
    is_dir: bool,
    pub(crate) opened: OwnedFd,
    pub(crate) stat: Stat,
}

impl<'a> Probe<'a> {
    /// Makes it in a directory; the error is the one that an entry of its kind meets there.
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
        // What it refuses shows in what it has then.
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
        // What stays goes with the stage.
        let _ = unlinkat(self.dir.root(), NAME, flags);
    }
}
