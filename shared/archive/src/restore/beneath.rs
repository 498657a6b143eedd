//! Opens paths below one directory by descriptors, never through a symbolic link.
//!
//! With openat2(2), RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS if the kernel has them, else part by part
//! with O_NOFOLLOW. If something is replaced by a link meanwhile, that is an error. Names are
//! normalized: relative, without `.` and `..`. Knows no archive.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

use crate::restore::names::with_parents;

/// The longest path for one call (half of PATH_MAX); names may be longer.
const STEP_MAX_BYTES: usize = 2048;

/// For opening a directory, and no link to one.
pub const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory and everything below it.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
    has_openat2: AtomicBool,
}

/// A directory, and a name in it.
pub type Located<'a> = (OwnedFd, &'a [u8]);

impl Beneath {
    /// For an open directory.
    #[must_use]
    pub fn new(root: OwnedFd) -> Self {
        Self {
            root,
            has_openat2: AtomicBool::new(true),
        }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens a directory; the empty name is the root.
    ///
    /// # Errors
    /// Failed calls, and a symbolic link in the path.
    pub fn open_dir(&self, name: &[u8]) -> io::Result<OwnedFd> {
        let mut dir = openat(&self.root, ".", DIR_FLAGS, Mode::empty())?;
        let mut rest = name;
        while !rest.is_empty() {
            let (step, behind) = split_step(rest);
            dir = self.step(&dir, step)?;
            rest = behind;
        }
        Ok(dir)
    }

    /// Opens the parent directory of a path.
    ///
    /// # Errors
    /// As [`Beneath::open_dir`].
    pub fn parent<'a>(&self, name: &'a [u8]) -> io::Result<Located<'a>> {
        let (parent, last) = split_last(name);
        Ok((self.open_dir(parent)?, last))
    }

    /// The same, but creates missing directories with mode 0700; `made` is called for each.
    ///
    /// # Errors
    /// As [`Beneath::open_dir`].
    pub fn make_parent<'a>(
        &self,
        name: &'a [u8],
        mut made: impl FnMut(&[u8]),
    ) -> io::Result<Located<'a>> {
        let (parent, last) = split_last(name);
        match self.open_dir(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return Ok((opened?, last)),
        }
        let mut dir = self.open_dir(b"")?;
        for parent in with_parents(parent) {
            let (_, part) = split_last(parent);
            match mkdirat(&dir, part, Mode::RWXU) {
                Ok(()) => made(parent),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            dir = openat(&dir, part, DIR_FLAGS, Mode::empty())?;
        }
        Ok((dir, last))
    }

    fn step(&self, dir: &OwnedFd, path: &[u8]) -> io::Result<OwnedFd> {
        if self.has_openat2.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            match openat2(dir, path, DIR_FLAGS, Mode::empty(), resolve) {
                // EPERM: a seccomp filter that does not know the call.
                Err(Errno::NOSYS | Errno::PERM) => {
                    self.has_openat2.store(false, Ordering::Relaxed);
                }
                // Something was renamed meanwhile.
                Err(Errno::AGAIN) => {}
                Err(Errno::LOOP) => {
                    let text = "a symbolic link is in its path";
                    return Err(io::Error::new(io::ErrorKind::NotADirectory, text));
                }
                opened => return Ok(opened?),
            }
        }
        walk(dir, path)
    }
}

fn walk(dir: &OwnedFd, path: &[u8]) -> io::Result<OwnedFd> {
    let mut reached = None;
    for part in path.split(|byte| *byte == b'/') {
        let from = reached.as_ref().unwrap_or(dir);
        reached = Some(openat(from, part, DIR_FLAGS, Mode::empty())?);
    }
    reached.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The parent of a normalized name, and its last part.
#[must_use]
pub fn split_last(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&name[..slash], &name[slash + 1..]),
        None => (b"", name),
    }
}

/// As many parts as fit into one call, and the rest.
fn split_step(name: &[u8]) -> (&[u8], &[u8]) {
    if name.len() <= STEP_MAX_BYTES {
        return (name, b"");
    }
    let within = name[..STEP_MAX_BYTES].iter().rposition(|it| *it == b'/');
    let slash = within.or_else(|| name.iter().position(|it| *it == b'/'));
    match slash {
        Some(slash) => (&name[..slash], &name[slash + 1..]),
        None => (name, b""),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn beneath(dir: &tempfile::TempDir, has_openat2: bool) -> Beneath {
        let root = std::fs::File::open(dir.path()).unwrap();
        let beneath = Beneath::new(root.into());
        beneath.has_openat2.store(has_openat2, Ordering::Relaxed);
        beneath
    }

    #[test]
    fn links_are_never_followed_by_either_way() {
        for has_openat2 in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let outside = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
            symlink(outside.path(), dir.path().join("out")).unwrap();
            symlink("b", dir.path().join("a/in")).unwrap();
            let beneath = beneath(&dir, has_openat2);
            assert!(beneath.open_dir(b"a/b").is_ok());
            for name in [&b"out"[..], b"out/x", b"a/in", b"a/in/x"] {
                assert!(beneath.open_dir(name).is_err());
                assert!(
                    beneath
                        .make_parent(&[name, b"/y"].concat(), |_| {})
                        .is_err()
                );
            }
            assert_eq!(outside.path().read_dir().unwrap().count(), 0);
        }
    }

    #[test]
    fn names_longer_than_a_path_are_reached() {
        for has_openat2 in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let beneath = beneath(&dir, has_openat2);
            let part = [&b"x".repeat(200)[..], b"/"].concat();
            let deep = [&part.repeat(30)[..], b"last"].concat();
            let mut made = 0;
            beneath.make_parent(&deep, |_| made += 1).unwrap();
            assert_eq!(made, 30);
            assert!(beneath.parent(&deep).is_ok());
        }
    }
}
