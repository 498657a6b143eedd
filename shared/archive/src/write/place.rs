//! A path of the source tree, accessed relative to its open parent directory: there is no limit to
//! its length, and symbolic links that appear on the way are not followed.
//!
//! Only makes system calls; knows no filter and no entry.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use bk_schema::manifest::SourceFile;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat, fstat, openat, readlinkat, statat,
};

use crate::format::entry::FileTime;

/// Neither block nor follow links.
const READ_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
const LISTING_BYTES: usize = 32 << 10;

/// Whether paths can be written as /proc/self/fd/N/NAME.
static HAS_PROC: LazyLock<bool> = LazyLock::new(|| Path::new("/proc/self/fd").exists());

/// A name in an open directory, or a path given by the user.
#[derive(Debug, Clone)]
pub struct Place {
    /// The path for messages.
    pub path: PathBuf,
    /// `None` for a path given by the user.
    within: Option<(Arc<File>, OsString)>,
}

/// The result of lstat(2).
#[derive(Debug, Clone)]
pub struct Lstat(Stat);

impl Place {
    /// A path given by the user; a trailing slash follows a symbolic link.
    #[must_use]
    pub fn from_path(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            within: None,
        }
    }

    pub(crate) fn within(dir: &Arc<File>, name: OsString, path: PathBuf) -> Self {
        Self {
            path,
            within: Some((dir.clone(), name)),
        }
    }

    /// Whether both are names in one open directory.
    pub(crate) fn is_in_same_dir(&self, other: &Self) -> bool {
        match (&self.within, &other.within) {
            (Some((one, _)), Some((other, _))) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    fn at(&self) -> (BorrowedFd<'_>, &OsStr) {
        match &self.within {
            Some((dir, name)) => (dir.as_fd(), name),
            None => (CWD, self.path.as_os_str()),
        }
    }

    /// Calls lstat(2).
    pub fn status(&self) -> io::Result<Lstat> {
        let (dir, name) = self.at();
        Ok(Lstat(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// Opens it for reading, without blocking or following a link.
    pub fn open(&self) -> io::Result<File> {
        self.open_with(OFlags::empty())
    }

    pub(crate) fn open_dir(&self) -> io::Result<File> {
        self.open_with(OFlags::DIRECTORY)
    }

    fn open_with(&self, flags: OFlags) -> io::Result<File> {
        let (dir, name) = self.at();
        Ok(openat(dir, name, READ_FLAGS | flags, Mode::empty())?.into())
    }

    /// The target of a symbolic link.
    pub(crate) fn target(&self) -> io::Result<Vec<u8>> {
        let (dir, name) = self.at();
        Ok(readlinkat(dir, name, Vec::new())?.into_bytes())
    }

    /// A path for calls without a directory descriptor.
    pub(crate) fn path_for_calls(&self) -> PathBuf {
        match &self.within {
            Some((dir, name)) if *HAS_PROC => {
                let dir = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
                dir.join(name)
            }
            _ => self.path.clone(),
        }
    }
}

impl Lstat {
    /// Calls fstat(2).
    pub fn of(file: &impl AsFd) -> io::Result<Self> {
        Ok(Self(fstat(file)?))
    }

    /// Device and inode, which identify the file.
    #[must_use]
    #[allow(clippy::unnecessary_cast, reason = "other machines have other types")]
    pub fn id(&self) -> (u64, u64) {
        (self.0.st_dev as u64, self.0.st_ino as u64)
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.0.st_mode)
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind() == FileType::RegularFile
    }

    /// Whether it has several hard links.
    #[must_use]
    pub fn has_hard_links(&self) -> bool {
        self.0.st_nlink > 1 && !self.is_dir()
    }

    /// The size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.st_size.try_into().unwrap_or_default()
    }

    /// The bytes used on the disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        u64::try_from(self.0.st_blocks).unwrap_or_default() * 512
    }

    pub(crate) fn mode(&self) -> u32 {
        self.0.st_mode & 0o7777
    }

    pub(crate) fn owner(&self) -> (u32, u32) {
        (self.0.st_uid, self.0.st_gid)
    }

    pub(crate) fn device(&self) -> (u32, u32) {
        let device = self.0.st_rdev;
        (rustix::fs::major(device), rustix::fs::minor(device))
    }

    #[allow(clippy::unnecessary_cast, reason = "other machines have other types")]
    pub(crate) fn mtime(&self) -> FileTime {
        FileTime {
            secs: self.0.st_mtime as i64,
            nanos: u32::try_from(self.0.st_mtime_nsec).unwrap_or_default(),
        }
    }

    /// What tells whether it is still the same file, as it was.
    #[allow(clippy::unnecessary_cast, reason = "other machines have other types")]
    pub(crate) fn source(&self) -> SourceFile {
        let (device, inode) = self.id();
        SourceFile {
            ctime: FileTime {
                secs: self.0.st_ctime as i64,
                nanos: u32::try_from(self.0.st_ctime_nsec).unwrap_or_default(),
            },
            inode,
            device,
        }
    }
}

/// The sorted names in a directory, and the error that cut the list short, if any.
pub(crate) fn names_in(dir: &File) -> (Vec<OsString>, Option<io::Error>) {
    let mut buffer = vec![MaybeUninit::uninit(); LISTING_BYTES];
    let mut listing = RawDir::new(dir, &mut buffer);
    let (mut names, mut error) = (Vec::new(), None);
    while let Some(entry) = listing.next() {
        match entry {
            Ok(entry) => match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => names.push(OsString::from_vec(name.to_owned())),
            },
            Err(errno) => {
                error = Some(errno.into());
                break;
            }
        }
    }
    names.sort_unstable();
    (names, error)
}

/// Whether a directory has a file with this beginning.
pub(crate) fn has_file(dir: &Arc<File>, name: &str, begin: &[u8]) -> bool {
    let place = Place::within(dir, name.into(), PathBuf::new());
    let Ok(file) = place.open() else {
        return false;
    };
    if !Lstat::of(&file).is_ok_and(|status| status.is_file()) {
        return false;
    }
    let mut read = Vec::new();
    let done = file.take(begin.len() as u64).read_to_end(&mut read);
    done.is_ok() && read == begin
}

/// The parent of a directory, if it is still the one with this id.
pub(crate) fn above(dir: &File, id: (u64, u64)) -> Option<File> {
    let flags = READ_FLAGS | OFlags::DIRECTORY;
    let above: File = openat(dir, "..", flags, Mode::empty()).ok()?.into();
    Lstat::of(&above)
        .is_ok_and(|status| status.id() == id)
        .then_some(above)
}

/// A directory below another, if it is still the one with this id.
pub(crate) fn below(dir: &Arc<File>, names: &[u8], id: (u64, u64)) -> Option<File> {
    let mut below = dir.clone();
    for name in names
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
    {
        let name = OsStr::from_bytes(name).to_owned();
        let place = Place::within(&below, name, PathBuf::new());
        below = Arc::new(place.open_dir().ok()?);
    }
    let is_same = Lstat::of(&*below).is_ok_and(|status| status.id() == id);
    is_same.then(|| Arc::into_inner(below)).flatten()
}
