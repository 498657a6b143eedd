//! Files that are still there after a loss of power, and in place of others only where that is asked for.
//!
//! Knows no location.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, openat, renameat_with, syncfs, unlinkat,
};
use rustix::io::Errno;

/// What a file is called until it is whole.
pub(crate) const PARTIAL: &str = ".partial";

/// An id that no other upload has.
pub(crate) fn new_id() -> io::Result<String> {
    let mut random = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(crate::place::hex(&random))
}

/// Whether it is one, and so a safe part of a name.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 16
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Where a file is written, for one upload of it.
pub(crate) fn partial(name: &str, id: &str) -> String {
    format!("{name}.{id}{PARTIAL}")
}

/// The partials in a directory, which need not be there, by the names that the files are to have.
pub(crate) fn partials(dir: &Path) -> io::Result<HashMap<String, Vec<PathBuf>>> {
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let whole = name.to_str().and_then(|it| it.strip_suffix(PARTIAL));
        let whole = whole.and_then(|it| it.rsplit_once('.'));
        if let Some((whole, _)) = whole.filter(|(_, id)| is_id(id)) {
            found
                .entry(whole.to_owned())
                .or_default()
                .push(dir.join(&name));
        }
    }
    Ok(found)
}

/// Opens a file that is there, and no link; waits for nobody at a FIFO.
pub(crate) fn open(path: &Path, is_written: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options
        .read(true)
        .write(is_written)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(ErrorKind::NotFound.into()),
    }
}

/// Makes a file that is not there yet, and the directories that it is in, below one that is.
pub(crate) fn make(root: &Path, path: &Path) -> io::Result<File> {
    make_dirs(root, dir_of(path))?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn make_dirs(root: &Path, dir: &Path) -> io::Result<()> {
    if dir == root || dir.is_dir() {
        return Ok(());
    }
    make_dirs(root, dir_of(dir))?;
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_dir(dir_of(dir)),
    }
}

/// Opens the directory that holds a key below a root, through no link: whoever may write there could lead elsewhere by one.
///
/// # Errors
/// [`ErrorKind::NotADirectory`] for a link.
pub(crate) fn open_dir(root: &Path, key: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::open(root, flags, Mode::empty())?;
    let above = key.rsplit_once('/').map_or("", |(above, _)| above);
    for name in above.split('/').filter(|name| !name.is_empty()) {
        dir = openat(&dir, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(dir)
}

/// Removes the file of a key below a root, to last; one that is not there is removed.
pub(crate) fn remove(root: &Path, key: &str) -> io::Result<()> {
    let name = key.rsplit('/').next().unwrap_or(key);
    let removed = open_dir(root, key).and_then(|dir| {
        unlinkat(&dir, name, AtFlags::empty())?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(&dir, ".", flags, Mode::empty())?)
    });
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(dir) => sync(&dir.into()),
    }
}

/// The directory that something is in.
pub(crate) fn dir_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Gives a whole file its name, to last.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] where another has it and may not be replaced.
pub(crate) fn commit(file: &File, from: &Path, to: &Path, may_replace: bool) -> io::Result<()> {
    file.sync_all()?;
    match may_replace {
        true => fs::rename(from, to)?,
        false => rename_new(from, to)?,
    }
    sync_dir(dir_of(to))
}

fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // NFS cannot; a link never replaces either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match fs::hard_link(from, to) {
            Ok(()) => fs::remove_file(from).inspect_err(|_| {
                // As it was; where even that fails, both names are good.
                let _ = fs::remove_file(to);
            }),
            Err(error) if has_no_links(&error) => rename_reserved(from, to),
            Err(error) => Err(error),
        },
        renamed => Ok(renamed?),
    }
}

/// As link(2) has it, and some drivers.
fn has_no_links(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    let known = [
        Errno::PERM,
        Errno::OPNOTSUPP,
        Errno::NOSYS,
        Errno::MLINK,
        Errno::INVAL,
    ];
    errno.is_some_and(|it| known.contains(&it))
}

/// Renames over an empty file that was made for that.
fn rename_reserved(from: &Path, to: &Path) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    fs::rename(from, to).inspect_err(|_| {
        // The first error is the one to tell; what stays is empty.
        let _ = fs::remove_file(to);
    })
}

/// Makes the names in a directory last.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    sync(&File::open(dir)?)
}

fn sync(dir: &File) -> io::Result<()> {
    match dir
        .sync_all()
        .map_err(|error| (Errno::from_io_error(&error), error))
    {
        // Where a directory cannot be synced (vboxsf, 9p2000, some FUSE), its file system is.
        Err((Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP), _)) => Ok(syncfs(dir)?),
        synced => synced.map_err(|(_, error)| error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_takes_its_name_and_no_other_s() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("a/x.partial"), root.path().join("a/x"));
        let file = make(root.path(), &from).unwrap();
        commit(&file, &from, &to, false).unwrap();
        assert!(to.exists() && !from.exists());
        let file = make(root.path(), &from).unwrap();
        let error = commit(&file, &from, &to, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        commit(&file, &from, &to, true).unwrap();
        assert!(!from.exists());
    }

    #[test]
    fn directories_are_made_below_the_root_and_not_the_root() {
        let root = tempfile::tempdir().unwrap();
        make(root.path(), &root.path().join("a/b/c")).unwrap();
        let gone = root.path().join("gone");
        let error = make(&gone, &gone.join("a/b")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!gone.exists());
    }

    #[test]
    fn ids_are_new_and_safe() {
        let id = new_id().unwrap();
        assert!(is_id(&id));
        assert_ne!(id, new_id().unwrap());
        assert!(!is_id("../../../../etc/") && !is_id(""));
    }

    #[test]
    fn a_link_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a"), "x").unwrap();
        std::os::unix::fs::symlink("a", root.path().join("b")).unwrap();
        assert!(open(&root.path().join("a"), false).is_ok());
        assert!(open(&root.path().join("b"), false).is_err());
    }
}
