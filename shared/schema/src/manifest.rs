//! The manifest of an archive: its entries, and which bytes of the archive hold them.
//!
//! Plain data, in the order of the archive. Knows no archive format and no file; how it is kept is
//! documented in bk-record(5).

use jiff::Timestamp;

use crate::invalid::name_in;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryType {
    /// A regular file.
    File,
    /// Another name of an entry before it.
    HardLink,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// Each type with its name in lines and manifests.
const NAMES: [(&str, EntryType); 7] = [
    ("file", EntryType::File),
    ("hardlink", EntryType::HardLink),
    ("directory", EntryType::Directory),
    ("symlink", EntryType::Symlink),
    ("fifo", EntryType::Fifo),
    ("char-device", EntryType::CharDevice),
    ("block-device", EntryType::BlockDevice),
];

impl EntryType {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_in(&NAMES, self)
    }

    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let named = NAMES.iter().find(|(it, _)| *it == name);
        named.map(|(_, it)| *it)
    }
}

/// A point in time as a file system keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileTime {
    /// Whole seconds since 1970, rounded down.
    pub secs: i64,
    /// Nanoseconds after that second, less than 1e9.
    pub nanos: u32,
}

impl FileTime {
    /// The same, to the nanosecond; `None` if it is out of the range of a timestamp.
    #[must_use]
    pub fn timestamp(self) -> Option<Timestamp> {
        let nanos = i32::try_from(self.nanos).ok()?;
        Timestamp::new(self.secs, nanos).ok()
    }
}

/// One entry of an archive, as far as it can be compared with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the archive.
    pub path: Vec<u8>,
    /// What it is.
    pub entry_type: EntryType,
    /// The length of a file, with its holes.
    pub size: u64,
    /// The bytes of a file that the archive holds, without its holes.
    pub data_bytes: u64,
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
    /// Where a symbolic link leads, or the first name of a hard link; empty for others.
    pub link_target: Vec<u8>,
    /// Major and minor number of a device.
    pub device_numbers: Option<(u32, u32)>,
    /// What an archive does not hold; `None` where the manifest was made from one.
    pub source: Option<SourceFile>,
    /// What went wrong with it while it was read.
    pub problem: Option<String>,
}

/// The file of an entry as it was when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceFile {
    /// Last change of the inode.
    pub ctime: FileTime,
    /// Its inode.
    pub inode: u64,
    /// The device of its file system.
    pub device: u64,
}

/// What names are sorted by in an archive: their parts, so that what is in a directory comes directly
/// after it.
pub fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
}

/// BLAKE3.
pub type Hash = [u8; 32];

/// One member of an archive, or frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its bytes in the archive.
    pub bytes: u32,
    /// The bytes of the padding after it.
    pub padding_bytes: u32,
    /// The hash of its bytes, without the padding.
    pub hash: Hash,
    /// The hash of what it holds, for those of a large file.
    pub content_hash: Option<Hash>,
}

impl Member {
    /// Its bytes and those of its padding.
    #[must_use]
    pub fn padded_bytes(&self) -> u64 {
        u64::from(self.bytes) + u64::from(self.padding_bytes)
    }
}

/// A run of members with the entries that they hold: one member of small files, or all those of a
/// large file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Segment {
    /// From the start of the archive.
    pub offset: u64,
    /// Its members; none where the manifest was made from the archive.
    pub members: Vec<Member>,
    /// Its entries, one at least.
    pub entries: Vec<Entry>,
    /// Whether its last entry ends it, whatever comes next.
    pub ends_itself: bool,
}

impl Segment {
    /// Its bytes in the archive, with the padding.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.members.iter().map(Member::padded_bytes).sum()
    }
}
