//! Finds the directories that a merge leads to: the target, what is mounted below it, and what
//! symbolic links in the place of directories point to.
//!
//! Each gets a stage of its own: nothing can be renamed from one file system to another, and
//! nothing ever goes through a link. They are found as the names of the archive come by. Knows no
//! archive.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bk_archive::restore::beneath::split_last;
use bk_archive::restore::names::{below, with_parents};
use jiff::Timestamp;

use crate::place::is_mount_point;

/// The directories that something goes to; the first is the target itself.
pub(crate) struct Routes {
    all: Vec<Route>,
    /// The last directory that was resolved, and its number.
    last: (Vec<u8>, usize),
    began: Timestamp,
}

/// The name that leads there, below the target, and the path.
type Route = (Vec<u8>, PathBuf);

impl Routes {
    /// `began` is the time at which this process began.
    pub(crate) fn new(dir: &Path, began: Timestamp) -> Self {
        Self {
            all: vec![(Vec::new(), dir.to_owned())],
            last: (Vec::new(), 0),
            began,
        }
    }

    /// The directory with this number.
    pub(crate) fn path(&self, number: usize) -> Option<&Path> {
        self.all.get(number).map(|(_, path)| path.as_path())
    }

    /// The number of the directory that a name goes to, and the rest of the name there.
    pub(crate) fn of<'n>(&mut self, name: &'n [u8]) -> (usize, &'n [u8]) {
        let (dir, _) = split_last(name);
        if dir != self.last.0 {
            self.last = (dir.to_owned(), self.walk(dir));
        }
        let number = self.last.1;
        (number, below(name, &self.all[number].0).unwrap_or_default())
    }

    fn walk(&mut self, dir: &[u8]) -> usize {
        let mut number = 0;
        for at in with_parents(dir).filter(|at| !at.is_empty()) {
            if let Some(known) = self.all.iter().position(|(known, _)| known == at) {
                number = known;
                continue;
            }
            let (nearest, path) = &self.all[number];
            let rest = below(at, nearest).unwrap_or_default();
            let path = path.join(OsStr::from_bytes(rest));
            let Ok(metadata) = path.symlink_metadata() else {
                break;
            };
            let leads = if metadata.is_symlink() {
                follow(&path, self.began)
            } else if metadata.is_dir() {
                let parent = path.parent().unwrap_or(&path);
                is_mount_point(&path, parent).then(|| path.clone())
            } else {
                break;
            };
            if let Some(path) = leads {
                number = self.all.len();
                self.all.push((at.to_owned(), path));
            }
        }
        number
    }
}

/// The directory that a trusted link points to. A link is trusted if it is older than this process,
/// and so comes from no archive that it extracted, and belongs to this user, to root, or to the
/// owner of the directory.
pub(crate) fn follow(link: &Path, began: Timestamp) -> Option<PathBuf> {
    let (own, there) = (link.symlink_metadata().ok()?, link.metadata().ok()?);
    let changed = Timestamp::new(own.ctime(), i32::try_from(own.ctime_nsec()).ok()?).ok()?;
    let users = [0, rustix::process::geteuid().as_raw(), there.uid()];
    let is_trusted = |link: &Metadata| users.contains(&link.uid()) && changed < began;
    (there.is_dir() && is_trusted(&own)).then(|| link.canonicalize().ok())?
}
