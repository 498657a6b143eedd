//! One entry of an archive, as data: what the writer encodes and the reader decodes.
//!
//! Knows no bytes of the format.

use std::borrow::Cow;

pub use bk_schema::manifest::FileTime;
use bk_schema::manifest::{self, EntryType, SourceFile};

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// The data of a sparse file; `None` if it has no holes.
        extents: Option<Vec<Extent>>,
    },
    /// A hard link to an earlier entry, by its name.
    HardLink(Vec<u8>),
    /// A symbolic link, with its target.
    Symlink(Vec<u8>),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A character device: major, minor.
    CharDevice(u32, u32),
    /// A block device: major, minor.
    BlockDevice(u32, u32),
}

/// A run of data in a sparse file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// From the start of the file.
    pub offset: u64,
    /// How long.
    pub length: u64,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name in the archive, no trailing slash; any bytes but NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The length of the file, with its holes.
    pub size: u64,
    /// Permissions with setuid, setgid and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Name of the owner; empty if unknown.
    pub uname: Vec<u8>,
    /// Name of the group; empty if unknown.
    pub gname: Vec<u8>,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Extended attributes, ACLs among them, by name.
    pub xattrs: Xattrs,
    /// ACLs that an archive of another program only has as text, by the name of the attribute. The
    /// writer does not use this.
    pub acl_texts: Xattrs,
}

/// Extended attributes: names and values, both of any bytes.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

impl Entry {
    /// As far as a manifest tells it: without attributes and holes.
    pub fn from_manifest(row: manifest::Entry) -> Self {
        let target = row.link_target;
        let (major, minor) = row.device_numbers.unwrap_or_default();
        Self {
            kind: match row.entry_type {
                EntryType::File => Kind::File { extents: None },
                EntryType::HardLink => Kind::HardLink(target),
                EntryType::Symlink => Kind::Symlink(target),
                EntryType::Directory => Kind::Directory,
                EntryType::Fifo => Kind::Fifo,
                EntryType::CharDevice => Kind::CharDevice(major, minor),
                EntryType::BlockDevice => Kind::BlockDevice(major, minor),
            },
            path: row.path,
            size: row.size,
            mode: row.mode,
            uid: row.uid,
            gid: row.gid,
            uname: row.uname,
            gname: row.gname,
            mtime: row.mtime,
            xattrs: Vec::new(),
            acl_texts: Vec::new(),
        }
    }

    /// Its row in a manifest.
    pub fn to_manifest(
        &self,
        source: Option<SourceFile>,
        problem: Option<String>,
    ) -> manifest::Entry {
        let (entry_type, link_target, device_numbers) = match &self.kind {
            Kind::File { .. } => (EntryType::File, None, None),
            Kind::HardLink(first) => (EntryType::HardLink, Some(first), None),
            Kind::Symlink(target) => (EntryType::Symlink, Some(target), None),
            Kind::Directory => (EntryType::Directory, None, None),
            Kind::Fifo => (EntryType::Fifo, None, None),
            Kind::CharDevice(major, minor) => (EntryType::CharDevice, None, Some((*major, *minor))),
            Kind::BlockDevice(major, minor) => {
                (EntryType::BlockDevice, None, Some((*major, *minor)))
            }
        };
        manifest::Entry {
            path: self.path.clone(),
            entry_type,
            size: self.size,
            data_bytes: self.data_bytes(),
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            uname: self.uname.clone(),
            gname: self.gname.clone(),
            mtime: self.mtime,
            link_target: link_target.cloned().unwrap_or_default(),
            device_numbers,
            source,
            problem,
        }
    }

    /// As a segment of a manifest that is made from the archive: nothing tells where it is.
    #[must_use]
    pub fn to_segment(&self) -> manifest::Segment {
        manifest::Segment {
            entries: vec![self.to_manifest(None, None)],
            ..manifest::Segment::default()
        }
    }

    /// Its data in the archive: of a file with holes the runs between them, else all of the file.
    #[must_use]
    pub fn data(&self) -> Cow<'_, [Extent]> {
        match &self.kind {
            Kind::File { extents: None } => Cow::Owned(vec![Extent {
                offset: 0,
                length: self.size,
            }]),
            Kind::File { extents: Some(all) } => Cow::Borrowed(all),
            _ => Cow::Borrowed(&[]),
        }
    }

    /// The size of its data in the archive: a file without its holes.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.data().iter().map(|extent| extent.length).sum()
    }
}
