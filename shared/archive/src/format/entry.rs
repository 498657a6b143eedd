//! One entry of an archive, as its header tells it: what the writer and the reader agree on.
//!
//! Knows no bytes of the format.

/// A point in time as a file system keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileTime {
    /// Whole seconds since 1970, rounded down.
    pub secs: i64,
    /// Nanoseconds after that second, less than 1e9.
    pub nanos: u32,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file; `extents` where it has holes.
    File {
        /// Where the data lies; `None` where the file is all data.
        extents: Option<Vec<Extent>>,
    },
    /// A further name of the file that stands under this name earlier in the archive.
    HardLink(Vec<u8>),
    /// A symbolic link and where it points.
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

/// A run of data in a file with holes, in bytes.
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
    /// Bytes of the file as it is read, holes counted.
    pub size: u64,
    /// Permissions with setuid, setgid and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Name of the owner; empty where there is none.
    pub uname: Vec<u8>,
    /// Name of the group; empty where there is none.
    pub gname: Vec<u8>,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Extended attributes, ACLs among them, by name.
    pub xattrs: Xattrs,
    /// ACLs that stand as text alone, as other programs store them, by the name of the attribute
    /// that each is to become; the writer stores none.
    pub acl_texts: Xattrs,
}

/// Extended attributes: names and values, both of any bytes.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

impl Entry {
    /// Bytes of content that the archive holds for it: those of a file, without its holes.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        match &self.kind {
            Kind::File { extents: None } => self.size,
            Kind::File {
                extents: Some(extents),
            } => extents.iter().map(|extent| extent.length).sum(),
            _ => 0,
        }
    }
}
