//! Turns a path of the source tree into an entry, and opens its content.
//!
//! Of the archive it only knows the names that hard links refer to.

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use bk_schema::manifest::{self, SourceFile};
use rustix::fs::FileType;
use xattr::FileExt;

use crate::accounts::Names;
use crate::format::entry::{Entry, FileTime, Kind, Xattrs};
use crate::write::content::{Content, extents, misreported, read_at_once};
use crate::write::piece::PIECE_BYTES;
use crate::write::place::Lstat;
use crate::write::problem::{Problem, ProblemKind};
use crate::write::walk::Found;

/// The limit for all attributes of an entry: readers limit the length of extended headers.
const XATTRS_MAX_BYTES: usize = 768 << 10;

/// An entry, and for a regular file its content.
pub(crate) struct Opened {
    pub(crate) entry: Entry,
    pub(crate) content: Option<Content>,
    /// The file that it was made from.
    pub(crate) source: SourceFile,
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

    /// The entry for `found`; `report` gets problems with parts of it.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn open(
        &mut self,
        found: &Found,
        report: &mut dyn FnMut(Problem),
    ) -> Result<Opened, Problem> {
        let kind = found.status.kind();
        if kind == FileType::Socket {
            let (path, reason) = (&found.place.path, "a socket is not backed up");
            return Err(Problem::new(path, ProblemKind::Socket, reason));
        }
        if let Some(first) = self.first_name(&found.status) {
            let kind = Kind::HardLink(first.to_owned());
            let entry = self.entry(found, &found.status, kind, Vec::new());
            return Ok(Opened {
                entry,
                content: None,
                source: found.status.source(),
            });
        }
        let opened = match kind {
            FileType::RegularFile => self.open_file(found, report)?,
            _ => Opened {
                entry: self.special(found, report)?,
                content: None,
                source: found.status.source(),
            },
        };
        self.store(found);
        Ok(opened)
    }

    /// What the entry for `found` would be, of which nothing is opened: without its attributes and holes.
    ///
    /// # Errors
    /// Why there would be none.
    pub(crate) fn describe(&mut self, found: &Found) -> Result<manifest::Entry, Problem> {
        let kind = match self.first_name(&found.status) {
            Some(first) => Kind::HardLink(first.to_owned()),
            None => kind(found)?,
        };
        self.store(found);
        let entry = self.entry(found, &found.status, kind, Vec::new());
        Ok(entry.to_manifest(Some(found.status.source()), None))
    }

    /// The name that other names of the same file are hard links to.
    pub(crate) fn first_name(&self, status: &Lstat) -> Option<&[u8]> {
        let first = self.stored.get(&version(status));
        first.filter(|_| status.has_hard_links()).map(Vec::as_slice)
    }

    /// Whether it becomes a large file, with members of its own: not one that is stored as a hard link, or
    /// that cannot be opened.
    pub(crate) fn is_large(&self, found: &Found) -> bool {
        let status = &found.status;
        status.is_file()
            && status.size() >= PIECE_BYTES
            && self.first_name(status).is_none()
            && found.place.open().is_ok()
            && found.data_bytes() >= PIECE_BYTES
    }

    /// Takes a path for the first name of its file, if it is.
    pub(crate) fn store(&mut self, found: &Found) {
        if found.status.has_hard_links() {
            let first = self.stored.entry(version(&found.status));
            first.or_insert_with(|| found.name.as_os_str().as_bytes().to_owned());
        }
    }

    /// Takes [`Opener::store`] back.
    pub(crate) fn forget(&mut self, found: &Found) {
        let version = version(&found.status);
        let first = self.stored.get(&version);
        if first.is_some_and(|first| first == found.name.as_os_str().as_bytes()) {
            self.stored.remove(&version);
        }
    }

    /// Whether the names of its owners are what they were.
    pub(crate) fn has_names(&self, entry: &manifest::Entry) -> bool {
        let user = self.names.users.get(&entry.uid);
        let group = self.names.groups.get(&entry.gid);
        user.map_or(&[][..], Vec::as_slice) == entry.uname
            && group.map_or(&[][..], Vec::as_slice) == entry.gname
    }

    fn open_file(&self, found: &Found, report: &mut dyn FnMut(Problem)) -> Result<Opened, Problem> {
        let path = &found.place.path;
        let failed = |error| Problem::of(path, &error);
        let file = found.place.open().map_err(failed)?;
        if let Some(bytes) = read_at_once(&file, &found.status) {
            let xattrs = xattrs(path, file.list_xattr(), |name| file.get_xattr(name), report)?;
            let kind = Kind::File { extents: None };
            return Ok(Opened {
                entry: self.entry(found, &found.status, kind, xattrs),
                content: Some(Content::Read(bytes)),
                source: found.status.source(),
            });
        }
        let status = Lstat::of(&file).map_err(failed)?;
        if !status.is_file() || status.id() != found.status.id() {
            return Err(Problem::replaced(path));
        }
        let xattrs = xattrs(path, file.list_xattr(), |name| file.get_xattr(name), report)?;
        let misreported = misreported(&file, &status).map_err(failed)?;
        let extents = match &misreported {
            Some(_) => None,
            None => extents(&file, &status),
        };
        let mut entry = self.entry(found, &status, Kind::File { extents }, xattrs);
        let content = Some(match misreported {
            Some((bytes, lacks)) => {
                if let Some(reason) = lacks {
                    report(Problem::new(path, ProblemKind::Unreadable, reason));
                }
                entry.size = bytes.len() as u64;
                Content::Read(bytes)
            }
            None => Content::File(file),
        });
        Ok(Opened {
            entry,
            content,
            source: status.source(),
        })
    }

    fn special(&self, found: &Found, report: &mut dyn FnMut(Problem)) -> Result<Entry, Problem> {
        let path = &found.place.path;
        let kind = kind(found)?;
        let xattrs = match &found.dir {
            Some(dir) => xattrs(path, dir.list_xattr(), |name| dir.get_xattr(name), report)?,
            None => {
                let at = found.place.path_for_calls();
                xattrs(path, xattr::list(&at), |name| xattr::get(&at, name), report)?
            }
        };
        Ok(self.entry(found, &found.status, kind, xattrs))
    }

    fn entry(&self, found: &Found, status: &Lstat, kind: Kind, xattrs: Xattrs) -> Entry {
        let (uid, gid) = status.owner();
        let (uname, gname) = self.names.of((uid, gid));
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
            uname,
            gname,
            mtime: status.mtime(),
            xattrs,
            acl_texts: Vec::new(),
        }
    }
}

/// What it is, of a file without its holes.
fn kind(found: &Found) -> Result<Kind, Problem> {
    let (major, minor) = found.status.device();
    Ok(match found.status.kind() {
        FileType::RegularFile => Kind::File { extents: None },
        FileType::Directory => Kind::Directory,
        FileType::Symlink => {
            let target = found.place.target();
            Kind::Symlink(target.map_err(|error| Problem::of(&found.place.path, &error))?)
        }
        FileType::Fifo => Kind::Fifo,
        FileType::CharacterDevice => Kind::CharDevice(major, minor),
        _ => Kind::BlockDevice(major, minor),
    })
}

/// Attributes sorted by name, so that the same tree gives the same bytes.
fn xattrs(
    path: &Path,
    names: io::Result<xattr::XAttrs>,
    get: impl Fn(&std::ffi::OsStr) -> io::Result<Option<Vec<u8>>>,
    report: &mut dyn FnMut(Problem),
) -> Result<Xattrs, Problem> {
    let mut lose = |reason| report(Problem::new(path, ProblemKind::Unreadable, reason));
    let names = match names {
        Ok(names) => names,
        // The file system does not support attributes.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Problem::of(path, &error));
        }
        Err(error) => {
            lose(format!("its extended attributes cannot be listed: {error}"));
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
                lose(format!(
                    "its extended attribute '{shown}' cannot be read: {error}"
                ));
            }
        }
    }
    if bytes > XATTRS_MAX_BYTES {
        lose(format!(
            "its extended attributes are left out: they take {bytes} bytes"
        ));
        return Ok(Vec::new());
    }
    all.sort_unstable();
    Ok(all)
}
