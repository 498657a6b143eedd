//! A path of the source tree, accessed relative to its open parent directory: there is no limit to
//! its length, and symbolic links that appear on the way are not followed.
//!
//! Only makes system calls; knows no filter and no entry.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
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
    /// The directory, and where the name begins at the end of the path; `None` for a path given by
    /// the user.
    within: Option<(Arc<File>, usize)>,
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

    /// A name in a directory, which is the end of `path` from `name_at` on.
    pub(crate) fn within(dir: &Arc<File>, path: PathBuf, name_at: usize) -> Self {
        Self {
            path,
            within: Some((dir.clone(), name_at)),
        }
    }

    /// Whether it is a name in an open directory.
    pub(crate) fn is_within(&self) -> bool {
        self.within.is_some()
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
            Some((dir, name_at)) => {
                let path = self.path.as_os_str().as_bytes();
                (dir.as_fd(), OsStr::from_bytes(&path[*name_at..]))
            }
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
        let (dir, name) = self.at();
        match &self.within {
            Some(_) if *HAS_PROC => {
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

    /// Last change of the inode.
    #[must_use]
    #[allow(clippy::unnecessary_cast, reason = "other machines have other types")]
    pub fn ctime(&self) -> FileTime {
        FileTime {
            secs: self.0.st_ctime as i64,
            nanos: u32::try_from(self.0.st_ctime_nsec).unwrap_or_default(),
        }
    }

    /// Whether nothing has changed in between: neither which file it is, nor what it holds.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let all = |it: &Self| (it.source(), it.mtime(), it.size(), it.0.st_mode, it.owner());
        all(self) == all(other)
    }

    /// What tells whether it is still the same file, as it was.
    #[allow(clippy::unnecessary_cast, reason = "other machines have other types")]
    pub(crate) fn source(&self) -> SourceFile {
        let (device, inode) = self.id();
        SourceFile {
            ctime: self.ctime(),
            inode,
            device,
        }
    }
}

/// The names in a directory, sorted.
#[derive(Default)]
pub(crate) struct Listing {
    /// All of them, one behind the other.
    bytes: Vec<u8>,
    names: Vec<Name>,
    next: usize,
}

/// Where a name is in a listing, and its first bytes behind what all names there begin with: names
/// differ in them most of the time.
struct Name {
    key: u64,
    begin: usize,
    end: usize,
}

impl Listing {
    /// The next name.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        let name = self.names.get(self.next)?;
        self.next += 1;
        Some(&self.bytes[name.begin..name.end])
    }

    /// Keeps every so many-th name, from one on.
    pub(crate) fn keep_part(&mut self, part: usize, parts: usize) {
        let mut number = 0;
        self.names.retain(|_| {
            number += 1;
            (number - 1) % parts == part
        });
    }

    /// Whether a name is among those that come.
    pub(crate) fn has(&self, name: &str) -> bool {
        let of = |it: &Name| &self.bytes[it.begin..it.end];
        let coming = &self.names[self.next..];
        coming
            .binary_search_by(|it| of(it).cmp(name.as_bytes()))
            .is_ok()
    }

    /// Keeps some names.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&[u8]) -> bool) {
        let bytes = &self.bytes;
        self.names.retain(|it| is_kept(&bytes[it.begin..it.end]));
    }

    fn push(&mut self, name: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(name);
        let end = self.bytes.len();
        self.names.push(Name { key: 0, begin, end });
    }

    fn sort(&mut self) {
        let (bytes, names) = (&self.bytes, &mut self.names);
        let Some(first) = names.first() else {
            return;
        };
        let first = &bytes[first.begin..first.end];
        let common = names.iter().fold(first.len(), |common, name| {
            let pairs = bytes[name.begin..name.end].iter().zip(&first[..common]);
            pairs.take_while(|(one, other)| one == other).count()
        });
        for name in &mut *names {
            let differing = &bytes[name.begin + common..name.end];
            let mut key = [0; 8];
            let length = differing.len().min(key.len());
            key[..length].copy_from_slice(&differing[..length]);
            name.key = u64::from_be_bytes(key);
        }
        let rest = |name: &Name| &bytes[name.begin + common..name.end];
        names.sort_unstable_by(|one, other| {
            let keys = one.key.cmp(&other.key);
            keys.then_with(|| rest(one).cmp(rest(other)))
        });
    }
}

/// The names in a directory, and the error that cut the list short, if any.
pub(crate) fn names_in(dir: &File) -> (Listing, Option<io::Error>) {
    let mut buffer = vec![MaybeUninit::uninit(); LISTING_BYTES];
    let mut entries = RawDir::new(dir, &mut buffer);
    let (mut listing, mut error) = (Listing::default(), None);
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) => match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => listing.push(name),
            },
            Err(errno) => {
                error = Some(errno.into());
                break;
            }
        }
    }
    listing.sort();
    (listing, error)
}

/// Whether a directory has a file with this beginning.
pub(crate) fn has_file(dir: &Arc<File>, name: &str, begin: &[u8]) -> bool {
    let place = Place::within(dir, name.into(), 0);
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
pub(crate) fn below(dir: &Arc<File>, names: &[u8], id: (u64, u64)) -> Option<Arc<File>> {
    let mut below = dir.clone();
    for name in names
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
    {
        let place = Place::within(&below, OsStr::from_bytes(name).into(), 0);
        below = Arc::new(place.open_dir().ok()?);
    }
    let is_same = Lstat::of(&*below).is_ok_and(|status| status.id() == id);
    is_same.then_some(below)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_are_sorted_by_their_bytes(
            begin in "[ab]{0,9}",
            ends in proptest::collection::hash_set("[a-c\u{1}é]{1,12}", 0..40)
        ) {
            let mut names: Vec<Vec<u8>> = ends.iter().map(|end| format!("{begin}{end}").into_bytes()).collect();
            let mut listing = Listing::default();
            names.iter().for_each(|name| listing.push(name));
            listing.sort();
            names.sort();
            let mut sorted = Vec::new();
            while let Some(name) = listing.next() {
                sorted.push(name.to_vec());
            }
            prop_assert_eq!(sorted, names);
        }
    }
}
