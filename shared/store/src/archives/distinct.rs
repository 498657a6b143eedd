//! Proof that two paths lead to two files, before one is unlinked because the other holds its data.
//!
//! Another device or inode proves nothing: through a bind mount, a pool over its disks, or a share
//! that is mounted twice, one file may have several, and a lock is not seen everywhere. But what
//! is put into a directory shows in it however it is reached. Knows no record.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use crate::archives::durable::{dir_of, make_file, with_suffix};
use crate::archives::open::is_absent;

/// What a probe adds to the name of the file. Two, as a negative answer for the one may be cached
/// where the other is looked for.
const ENDINGS: [&str; 2] = [".probe1", ".probe2"];

/// Proves that `kept` stays when `removed` is unlinked.
///
/// # Errors
/// That they are in one directory, that `kept` is gone or only mounted there, and what keeps it
/// from being told.
pub fn prove_apart(removed: &Path, kept: &Path) -> io::Result<()> {
    let found = statx(CWD, kept, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE);
    let found = found.map_err(|error| cannot_tell(kept, error.into()))?;
    // A file that is mounted on another one goes with what it was mounted from.
    if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        let text = format!("'{}' is a mount of a single file", kept.display());
        return Err(io::Error::other(text));
    }
    // Of layers, the one may show in the other and not the other way round.
    for (ending, laid, seen) in [(ENDINGS[0], removed, kept), (ENDINGS[1], kept, removed)] {
        let probe = lay(laid, ending)?;
        let name = probe.file_name().unwrap_or_default();
        let found = dir_of(seen).join(name).symlink_metadata();
        std::fs::remove_file(&probe).map_err(|error| cannot_tell(&probe, error))?;
        match found {
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(cannot_tell(seen, error)),
            Ok(_) => {
                return Err(io::Error::other(format!(
                    "'{}' and '{}' are one directory",
                    dir_of(removed).display(),
                    dir_of(kept).display()
                )));
            }
        }
    }
    Ok(())
}

/// Puts a name beside a file. One that stays is empty, or another name of the file, and goes when it
/// is laid again.
fn lay(file: &Path, ending: &str) -> io::Result<PathBuf> {
    let path = with_suffix(file, ending);
    let made = match make(file, &path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_left(file, &path)? => {
            std::fs::remove_file(&path).and_then(|()| make(file, &path))
        }
        made => made,
    };
    made.map_err(|error| cannot_tell(&path, error))?;
    Ok(path)
}

/// A full disk has room for another name, where it has none for another file.
fn make(file: &Path, probe: &Path) -> io::Result<()> {
    use ErrorKind::{QuotaExceeded, StorageFull};
    match make_file(probe) {
        Err(error) if matches!(error.kind(), StorageFull | QuotaExceeded) => {
            std::fs::hard_link(file, probe)
        }
        made => made.map(drop),
    }
}

/// Whether it is what a process that was killed left.
fn is_left(file: &Path, probe: &Path) -> io::Result<bool> {
    let (file, probe) = (file.symlink_metadata()?, probe.symlink_metadata()?);
    let is_name_of_it = (file.dev(), file.ino()) == (probe.dev(), probe.ino());
    Ok(probe.is_file() && (probe.len() == 0 || is_name_of_it))
}

fn cannot_tell(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("'{}': {error}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn two_directories_are_apart_and_one_by_two_names_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["one", "two"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("f"), "data").unwrap();
        }
        std::os::unix::fs::symlink("one", at("link")).unwrap();
        let told = |removed: &str, kept: &str| {
            let told = prove_apart(&at(removed), &at(kept)).map_err(|error| error.to_string());
            let root = format!("{}/", dir.path().display());
            told.map_err(|text| text.replace(&root, ""))
        };
        let one = |a: &str, b: &str| Err(format!("'{a}' and '{b}' are one directory"));
        assert_eq!(told("one/f", "two/f"), Ok(()));
        assert_eq!(told("one/f", "link/f"), one("one", "link"));
        assert_eq!(told("link/f", "one/f"), one("link", "one"));
        // What is not there keeps nothing.
        let gone = "'two/g': No such file or directory (os error 2)";
        assert_eq!(told("one/f", "two/g"), Err(gone.into()));
        // What a kill left is no obstacle, and another's file is.
        fs::write(at("one/f.probe1"), "").unwrap();
        fs::hard_link(at("two/f"), at("two/f.probe2")).unwrap();
        assert_eq!(told("one/f", "two/f"), Ok(()));
        assert_eq!(fs::read_dir(at("one")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(at("two")).unwrap().count(), 1);
        fs::write(at("one/f.probe1"), "mine").unwrap();
        let there = "'one/f.probe1': File exists (os error 17)";
        assert_eq!(told("one/f", "two/f"), Err(there.into()));
    }
}
