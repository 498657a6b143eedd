//! Turns a path of the source tree into an entry, and opens its content.
//!
//! Of the archive it only knows the names that hard links refer to.

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::FileType;
use xattr::FileExt;

use crate::accounts::Names;
use crate::format::entry::{Entry, FileTime, Kind, Xattrs};
use crate::write::content::{Content, extents, misreported};
use crate::write::place::Lstat;
use crate::write::problem::{Problem, ProblemKind};
use crate::write::walk::Found;

/// The limit for all attributes of an entry: readers limit the length of extended headers.
const XATTRS_MAX_BYTES: usize = 768 << 10;

/// An entry, and for a regular file its content.
pub(crate) struct Opened {
    pub(crate) entry: Entry,
    pub(crate) content: Option<Content>,
}

/// Turns paths that the walk found into entries.
pub(crate) struct Opener {
    names: Names,
    /// The first stored name of each file with several hard links.
    stored: HashMap<Version, Vec<u8>>,
}

/// Device and inode, size, mtime: an inode alone may have been reused for another file.
type Version = ((u64, u64), u64, FileTime);

fn version(status: &Lstat) -> Version {
    (status.id(), status.size(), status.mtime())
}

impl Opener {
    pub(crate) fn new() -> Self {
        Self {
            names: Names::of_this_machine(),
            stored: HashMap::new(),
        }
    }

    /// The entry for `found`; `None` after reporting a problem if there can be none.
    pub(crate) fn open(
        &mut self,
        found: &Found,
        report: &mut dyn FnMut(Problem),
    ) -> Option<Opened> {
        let kind = found.status.kind();
        if kind == FileType::Socket {
            report(problem(
                &found.place.path,
                ProblemKind::Socket,
                "a socket is not backed up",
            ));
            return None;
        }
        let has_hard_links = found.status.has_hard_links();
        let first = self.stored.get(&version(&found.status));
        if let Some(first) = first.filter(|_| has_hard_links) {
            let kind = Kind::HardLink(first.clone());
            let entry = self.entry(found, &found.status, kind, Vec::new());
            return Some(Opened {
                entry,
                content: None,
            });
        }
        let opened = if kind == FileType::RegularFile {
            self.open_file(found, report)
        } else {
            self.open_special(found, report)
        };
        match opened {
            Ok(opened) => {
                if has_hard_links {
                    let version = version(&found.status);
                    self.stored.insert(version, opened.entry.path.clone());
                }
                Some(opened)
            }
            Err(problem) => {
                report(problem);
                None
            }
        }
    }

    fn open_file(&self, found: &Found, report: &mut dyn FnMut(Problem)) -> Result<Opened, Problem> {
        let path = &found.place.path;
        let failed = |error| failed(path, &error);
        let file = found.place.open().map_err(failed)?;
        let status = Lstat::of(&file).map_err(failed)?;
        if !status.is_file() || status.id() != found.status.id() {
            return Err(replaced(path));
        }
        let xattrs = xattrs(path, file.list_xattr(), |name| file.get_xattr(name), report)?;
        let misreported = misreported(&file, &status).map_err(failed)?;
        let extents = match &misreported {
            Some(_) => None,
            None => extents(&file, &status),
        };
        let mut entry = self.entry(found, &status, Kind::File { extents }, xattrs);
        let content = match misreported {
            Some(misreported) => {
                if let Some(reason) = misreported.lacks {
                    report(problem(path, ProblemKind::Unreadable, &reason));
                }
                entry.size = misreported.bytes.len() as u64;
                Content::Read(misreported.bytes)
            }
            None => Content::File(file),
        };
        Ok(Opened {
            entry,
            content: Some(content),
        })
    }

    fn open_special(
        &self,
        found: &Found,
        report: &mut dyn FnMut(Problem),
    ) -> Result<Opened, Problem> {
        let (path, status) = (&found.place.path, &found.status);
        let kind = match status.kind() {
            FileType::Directory => Kind::Directory,
            FileType::Symlink => {
                let target = found.place.target();
                Kind::Symlink(target.map_err(|error| failed(path, &error))?)
            }
            FileType::Fifo => Kind::Fifo,
            kind => {
                let (major, minor) = status.device();
                match kind {
                    FileType::CharacterDevice => Kind::CharDevice(major, minor),
                    _ => Kind::BlockDevice(major, minor),
                }
            }
        };
        let xattrs = match &found.dir {
            Some(dir) => xattrs(path, dir.list_xattr(), |name| dir.get_xattr(name), report)?,
            None => {
                let at = found.place.path_for_calls();
                xattrs(path, xattr::list(&at), |name| xattr::get(&at, name), report)?
            }
        };
        let entry = self.entry(found, status, kind, xattrs);
        Ok(Opened {
            entry,
            content: None,
        })
    }

    fn entry(&self, found: &Found, status: &Lstat, kind: Kind, xattrs: Xattrs) -> Entry {
        let name = |names: &HashMap<u32, Vec<u8>>, id| names.get(&id).cloned().unwrap_or_default();
        let (uid, gid) = status.owner();
        Entry {
            path: found.name.as_os_str().as_bytes().to_owned(),
            size: if matches!(kind, Kind::File { .. }) {
                status.size()
            } else {
                0
            },
            kind,
            mode: status.mode(),
            uid,
            gid,
            uname: name(&self.names.users, uid),
            gname: name(&self.names.groups, gid),
            mtime: status.mtime(),
            xattrs,
            acl_texts: Vec::new(),
        }
    }
}

/// Attributes sorted by name, so that the same tree gives the same bytes.
fn xattrs(
    path: &Path,
    names: io::Result<xattr::XAttrs>,
    get: impl Fn(&std::ffi::OsStr) -> io::Result<Option<Vec<u8>>>,
    report: &mut dyn FnMut(Problem),
) -> Result<Xattrs, Problem> {
    let names = match names {
        Ok(names) => names,
        // The file system does not support attributes.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(failed(path, &error)),
        Err(error) => {
            let reason = format!("its extended attributes cannot be listed: {error}");
            report(problem(path, ProblemKind::Unreadable, &reason));
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
                report(problem(path, ProblemKind::Unreadable, &reason));
            }
        }
    }
    if bytes > XATTRS_MAX_BYTES {
        let reason = format!("its extended attributes are left out: they take {bytes} bytes");
        report(problem(path, ProblemKind::Unreadable, &reason));
        return Ok(Vec::new());
    }
    all.sort_unstable();
    Ok(all)
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

/// The problem for an error when opening a path.
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
