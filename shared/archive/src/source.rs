//! One place of the source tree as an entry, and its content opened.
//!
//! Knows nothing of the archive but the names that hard links refer to.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, SeekFrom, major, minor, seek};
use xattr::FileExt;

use crate::accounts::Names;
use crate::entry::{Entry, Extent, FileTime, Kind, Xattrs};
use crate::problem::{Problem, ProblemKind};
use crate::walk::Found;

/// Together they stay below the longest extended header that a reader takes.
const XATTRS_MAX_BYTES: usize = 768 << 10;
/// A file in more pieces is stored without its holes, as every reader has a limit.
const EXTENTS_MAX: usize = 100_000;

/// An entry, and for a regular file what to read its content from.
pub(crate) struct Opened {
    pub(crate) entry: Entry,
    pub(crate) content: Option<File>,
}

/// Turns what the walk found into entries, one after the other.
pub(crate) struct Opener {
    names: Names,
    /// Under which name a file with several ones was stored first.
    stored: HashMap<Version, Vec<u8>>,
}

/// A file as it was at one time: device, inode, size, mtime in seconds and nanoseconds. An
/// inode alone may be that of a removed file, and now another's.
type Version = (u64, u64, u64, i64, i64);

fn version(metadata: &Metadata) -> Version {
    (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    )
}

impl Opener {
    pub(crate) fn new() -> Self {
        Self {
            names: Names::of_this_machine(),
            stored: HashMap::new(),
        }
    }

    /// The entry of `found`; `None`, and the problem told, where it can have none.
    pub(crate) fn open(&mut self, found: &Found, tell: &mut dyn FnMut(Problem)) -> Option<Opened> {
        let file_type = found.metadata.file_type();
        if file_type.is_socket() {
            tell(problem(
                &found.path,
                ProblemKind::Socket,
                "a socket is not backed up",
            ));
            return None;
        }
        let has_more_names = found.metadata.nlink() > 1 && !file_type.is_dir();
        let first = self.stored.get(&version(&found.metadata));
        if let Some(first) = first.filter(|_| has_more_names) {
            let kind = Kind::HardLink(first.clone());
            let entry = self.entry(found, &found.metadata, kind, Vec::new());
            return Some(Opened {
                entry,
                content: None,
            });
        }
        let opened = if file_type.is_file() {
            self.open_file(found, tell)
        } else {
            self.open_special(found, tell)
        };
        match opened {
            Ok(opened) => {
                if has_more_names {
                    let version = version(&found.metadata);
                    self.stored.insert(version, opened.entry.path.clone());
                }
                Some(opened)
            }
            Err(problem) => {
                tell(problem);
                None
            }
        }
    }

    fn open_file(&self, found: &Found, tell: &mut dyn FnMut(Problem)) -> Result<Opened, Problem> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(&found.path)
            .map_err(|error| failed(&found.path, &error))?;
        let metadata = file
            .metadata()
            .map_err(|error| failed(&found.path, &error))?;
        let is_same = metadata.is_file()
            && (metadata.dev(), metadata.ino()) == (found.metadata.dev(), found.metadata.ino());
        if !is_same {
            return Err(replaced(&found.path));
        }
        let xattrs = xattrs(
            &found.path,
            file.list_xattr(),
            |name| file.get_xattr(name),
            tell,
        )?;
        let extents = extents(&file, &metadata).unwrap_or_default();
        let entry = self.entry(found, &metadata, Kind::File { extents }, xattrs);
        Ok(Opened {
            entry,
            content: Some(file),
        })
    }

    fn open_special(
        &self,
        found: &Found,
        tell: &mut dyn FnMut(Problem),
    ) -> Result<Opened, Problem> {
        let (path, metadata) = (&found.path, &found.metadata);
        let file_type = metadata.file_type();
        let device = || (major(metadata.rdev() as _), minor(metadata.rdev() as _));
        let kind = if file_type.is_dir() {
            Kind::Directory
        } else if file_type.is_symlink() {
            let target = std::fs::read_link(path).map_err(|error| failed(path, &error))?;
            Kind::Symlink(target.into_os_string().into_vec())
        } else if file_type.is_fifo() {
            Kind::Fifo
        } else if file_type.is_char_device() {
            let (major, minor) = device();
            Kind::CharDevice(major, minor)
        } else {
            let (major, minor) = device();
            Kind::BlockDevice(major, minor)
        };
        let xattrs = xattrs(path, xattr::list(path), |name| xattr::get(path, name), tell)?;
        let entry = self.entry(found, metadata, kind, xattrs);
        Ok(Opened {
            entry,
            content: None,
        })
    }

    fn entry(&self, found: &Found, metadata: &Metadata, kind: Kind, xattrs: Xattrs) -> Entry {
        let name = |names: &HashMap<u32, Vec<u8>>, id| names.get(&id).cloned().unwrap_or_default();
        Entry {
            path: found.name.as_os_str().as_bytes().to_owned(),
            size: if matches!(kind, Kind::File { .. }) {
                metadata.size()
            } else {
                0
            },
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            uname: name(&self.names.users, metadata.uid()),
            gname: name(&self.names.groups, metadata.gid()),
            mtime: FileTime {
                secs: metadata.mtime(),
                nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or_default(),
            },
            xattrs,
            acl_texts: Vec::new(),
        }
    }
}

/// Attributes in the order of their names, so that the same tree makes the same bytes.
fn xattrs(
    path: &Path,
    names: io::Result<xattr::XAttrs>,
    get: impl Fn(&std::ffi::OsStr) -> io::Result<Option<Vec<u8>>>,
    tell: &mut dyn FnMut(Problem),
) -> Result<Xattrs, Problem> {
    let names = match names {
        Ok(names) => names,
        // What has no attributes has none to lose.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(failed(path, &error)),
        Err(error) => {
            let reason = format!("its extended attributes cannot be listed: {error}");
            tell(problem(path, ProblemKind::Unreadable, &reason));
            return Ok(Vec::new());
        }
    };
    let mut all = Vec::new();
    let mut bytes = 0;
    for name in names {
        match get(&name) {
            Ok(Some(value)) => {
                bytes += name.len() + value.len() + 40;
                all.push((name.into_vec(), value));
            }
            Ok(None) => {}
            Err(error) => {
                let shown = name.display();
                let reason = format!("its extended attribute '{shown}' cannot be read: {error}");
                tell(problem(path, ProblemKind::Unreadable, &reason));
            }
        }
    }
    if bytes > XATTRS_MAX_BYTES {
        let reason = format!("its extended attributes are left out: they take {bytes} bytes");
        tell(problem(path, ProblemKind::Unreadable, &reason));
        return Ok(Vec::new());
    }
    all.sort_unstable();
    Ok(all)
}

/// Where the data lies in a file that takes less of the disk than its size; `None` where that
/// is everywhere, or cannot be told.
fn extents(file: &File, metadata: &Metadata) -> Option<Option<Vec<Extent>>> {
    let size = metadata.size();
    if metadata.blocks() * 512 >= size {
        return None;
    }
    let mut extents: Vec<Extent> = Vec::new();
    let mut at = 0;
    while at < size {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.min(size),
            Err(rustix::io::Errno::NXIO) => size,
            Err(_) => return None,
        };
        if data == size {
            break;
        }
        let hole = seek(file, SeekFrom::Hole(data)).ok()?.clamp(data, size);
        if hole == data || extents.len() == EXTENTS_MAX {
            return None;
        }
        extents.push(Extent {
            offset: data,
            length: hole - data,
        });
        at = hole;
    }
    let end = extents.last().map_or(0, |last| last.offset + last.length);
    let is_whole = extents.len() == 1 && extents.first().is_some_and(|first| first.length == size);
    if is_whole {
        return None;
    }
    if end < size {
        // GNU tar tells a hole at the end by an empty extent there.
        extents.push(Extent {
            offset: size,
            length: 0,
        });
    }
    Some(Some(extents))
}

pub(crate) fn problem(path: &Path, kind: ProblemKind, reason: &str) -> Problem {
    Problem {
        path: path.to_owned(),
        kind,
        reason: reason.to_owned(),
    }
}

fn replaced(path: &Path) -> Problem {
    problem(
        path,
        ProblemKind::Replaced,
        "it was replaced by something else",
    )
}

/// What an error at opening means.
pub(crate) fn failed(path: &Path, error: &io::Error) -> Problem {
    match rustix::io::Errno::from_io_error(error) {
        Some(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => problem(
            path,
            ProblemKind::Vanished,
            "it vanished before it was read",
        ),
        // O_NOFOLLOW met a symbolic link, or O_NONBLOCK a socket or device.
        Some(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => replaced(path),
        _ => problem(path, ProblemKind::Unreadable, &error.to_string()),
    }
}
