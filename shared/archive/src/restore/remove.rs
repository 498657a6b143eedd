//! Removes a tree that belongs to this user, however deep and whatever its permissions, never through
//! a link.
//!
//! Nested directories are moved up first, so that a few descriptors are enough for any depth. Knows no
//! archive.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, fchmod, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::restore::attributes::by_proc;

/// Removes the content of a directory.
///
/// # Errors
/// The last failure; everything else was removed.
pub fn empty_dir(dir: impl AsFd) -> io::Result<()> {
    let dir = dir.as_fd();
    let mut failure = None;
    let mut number = 0;
    loop {
        let names = names_in(dir)?;
        let mut is_changed = false;
        for name in names {
            match remove_one(dir, &name, &mut number) {
                Ok(()) => is_changed = true,
                Err(error) => failure = Some(error),
            }
        }
        if !is_changed {
            return failure.map_or(Ok(()), Err);
        }
        failure = None;
    }
}

/// Removes a name; directories inside it are moved into `dir` if they are not empty.
fn remove_one(dir: impl AsFd, name: &[u8], number: &mut u64) -> io::Result<()> {
    let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(unlinkat(&dir, name, AtFlags::empty())?);
    }
    match unlinkat(&dir, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        other => return Ok(other?),
    }
    let inner = open_own(&dir, name)?;
    for child in names_in(&inner)? {
        let stat = statat(&inner, &child[..], AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            unlinkat(&inner, &child[..], AtFlags::empty())?;
            continue;
        }
        if unlinkat(&inner, &child[..], AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        // A directory must be writable to be moved.
        open_own(&inner, &child)?;
        loop {
            *number += 1;
            let free = format!("{number}.gone");
            match renameat(&inner, &child[..], &dir, &free) {
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                other => break other?,
            }
        }
    }
    Ok(unlinkat(&dir, name, AtFlags::REMOVEDIR)?)
}

/// Opens a directory, after making it readable and writable for its owner.
pub fn open_own(dir: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&dir, name, flags | OFlags::RDONLY, Mode::empty()) {
        Ok(opened) => {
            let mode = rustix::fs::fstat(&opened)?.st_mode;
            if mode & 0o700 != 0o700 {
                fchmod(&opened, Mode::from_raw_mode((mode & 0o7777) | 0o700))?;
            }
            Ok(opened)
        }
        Err(Errno::ACCESS) => {
            let path = openat(&dir, name, flags | OFlags::PATH, Mode::empty())?;
            chmodat(CWD, by_proc(&path), Mode::RWXU, AtFlags::empty())?;
            let opened = openat(&path, ".", flags | OFlags::RDONLY, Mode::empty())?;
            Ok(opened)
        }
        Err(error) => Err(error.into()),
    }
}

/// The names in a directory, without `.` and `..`.
pub fn names_in(dir: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_owned();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::restore::beneath::Beneath;

    #[test]
    fn deep_trees_and_closed_directories_go_and_what_links_lead_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("kept"), "").unwrap();
        let root = || std::fs::File::open(dir.path()).unwrap();
        let beneath = Beneath::new(root().into());
        let deep = [&b"d/".repeat(3000)[..], b"x"].concat();
        let (last, _) = beneath.make_parent(&deep, |_| {}).unwrap();
        rustix::fs::symlinkat(outside.path(), &last, "out").unwrap();
        rustix::fs::fchmod(&last, Mode::empty()).unwrap();
        empty_dir(root()).unwrap();
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        assert!(outside.path().join("kept").exists());
    }
}
