//! The parent: an earlier archive of the same sources, of which is taken over what is unchanged.
//!
//! Its manifest and the walk come in the same order, so they are merged as streams. A segment of small
//! files is taken over, unread, where the walk meets every entry of it again, and nothing between
//! them; of a large file each member is. What is taken over is compared with its hash on the way. Knows
//! no catalog, and does not know where the manifest comes from.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Result, ensure};
use bk_schema::manifest::{Entry, EntryType, FileTime, Hash, Member, Segment, parts};
use rustix::fs::FileType;

use crate::write::piece::PIECE_BYTES;
use crate::write::source::Opener;
use crate::write::walk::Found;

/// So many directories are open at most for files that are held: a process may have few files open.
const DIRS_MAX: usize = 16;

/// An earlier archive and its manifest.
pub struct Parent<'a> {
    /// The archive, open to be read.
    pub file: File,
    /// The next segment of its manifest, in the order of the archive.
    pub segments: Box<dyn FnMut() -> Result<Option<Segment>> + Send + 'a>,
    /// When a file counts as unchanged.
    pub rules: Rules,
}

/// When a file counts as unchanged.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// What changed then or later may have changed unseen: two seconds before the parent was begun.
    pub unsure_from: FileTime,
    /// Inodes mean nothing.
    pub ignore_inode: bool,
    /// Times of change mean nothing.
    pub ignore_ctime: bool,
}

/// What the parent has of a path that was found.
pub(crate) enum Met {
    /// Nothing that is of use.
    Nothing,
    /// The same entry, in a segment of which all was met so far. It is held.
    Same,
    /// The same large file, in members of its own.
    SameLarge(Archived),
    /// A large file of that name, which is another one by now.
    OtherLarge(Archived),
}

/// The archive of the parent.
pub(crate) struct Archive {
    file: File,
    /// Why it is not as it was written.
    damage: OnceLock<String>,
}

/// A member of the parent's archive as it was written, and where it stands.
pub(crate) struct Taken {
    pub(crate) bytes: Vec<u8>,
    pub(crate) member: Member,
    pub(crate) archive: Arc<Archive>,
    pub(crate) offset: u64,
}

/// Members of the parent's archive.
#[derive(Clone)]
pub(crate) struct Archived {
    archive: Arc<Archive>,
    offset: u64,
    members: Vec<Member>,
}

/// Members by the hash of what they hold.
pub(crate) struct Pieces {
    archive: Arc<Archive>,
    members: HashMap<Hash, (u64, Member)>,
}

/// Merges the manifest of a parent with the walk.
pub(crate) struct Merge<'a> {
    next: Box<dyn FnMut() -> Result<Option<Segment>> + Send + 'a>,
    rules: Rules,
    archive: Arc<Archive>,
    /// The number of each source, by its name in the archive.
    sources: HashMap<Vec<u8>, usize>,
    /// The source of the entry that was loaded last.
    source: usize,
    current: Option<Loaded>,
    /// Entries of the current segment that were met again, all held.
    held: Vec<Found>,
    /// The directories that they are in.
    held_dirs: usize,
}

struct Loaded {
    segment: Segment,
    /// The source of each entry.
    sources: Vec<usize>,
}

impl<'a> Merge<'a> {
    /// `names` are those of the sources, in the order of the archive.
    pub(crate) fn new<'n>(parent: Parent<'a>, names: impl Iterator<Item = &'n Path>) -> Self {
        let names = names.map(|name| name.as_os_str().as_bytes());
        Self {
            next: parent.segments,
            rules: parent.rules,
            archive: Arc::new(Archive {
                file: parent.file,
                damage: OnceLock::new(),
            }),
            sources: names.map(<[u8]>::to_owned).zip(0..).collect(),
            source: 0,
            current: None,
            held: Vec::new(),
            held_dirs: 0,
        }
    }

    pub(crate) fn archive(&self) -> &Arc<Archive> {
        &self.archive
    }

    /// What is held, which is then no more.
    pub(crate) fn release(&mut self) -> Vec<Found> {
        self.held_dirs = 0;
        std::mem::take(&mut self.held)
    }

    pub(crate) fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// The segment, if all of it is held.
    pub(crate) fn complete(&self) -> Option<&Segment> {
        let segment = &self.current.as_ref()?.segment;
        (self.held.len() == segment.entries.len()).then_some(segment)
    }

    /// What the parent has of a path. `is_at_cut` is whether a segment may begin here.
    ///
    /// # Errors
    /// A manifest that cannot be read.
    pub(crate) fn meet(
        &mut self,
        source: usize,
        found: &Found,
        is_at_cut: bool,
        opener: &Opener,
    ) -> Result<Met> {
        let path = found.name.as_os_str().as_bytes();
        // What is held are the first entries of the current segment, and of no other.
        if self.held.is_empty() {
            self.seek(source, path)?;
        }
        let Some(loaded) = &self.current else {
            return Ok(Met::Nothing);
        };
        let at = self.held.len();
        let entry = &loaded.segment.entries[at];
        let is_there = loaded.sources[at] == source && entry.path == path;
        if !is_there {
            return Ok(Met::Nothing);
        }
        let is_same = self.is_unchanged(entry, found, opener);
        if entry.entry_type == EntryType::File && entry.data_bytes >= PIECE_BYTES {
            let archived = loaded.archived(&self.archive);
            // One with holes may have its data elsewhere by now.
            return Ok(match is_same && entry.data_bytes == entry.size {
                true => Met::SameLarge(archived),
                false => Met::OtherLarge(archived),
            });
        }
        let may_begin = at > 0 || is_at_cut;
        Ok(match is_same && may_begin {
            true => Met::Same,
            false => Met::Nothing,
        })
    }

    /// What the parent has of a stream. Nothing is held then.
    ///
    /// # Errors
    /// A manifest that cannot be read.
    pub(crate) fn stream(&mut self, source: usize, path: &[u8]) -> Result<Option<Archived>> {
        self.seek(source, path)?;
        let is_it = |loaded: &&Loaded| {
            loaded.sources[0] == source && loaded.segment.entries[0].path == path
        };
        let loaded = self.current.as_ref().filter(is_it);
        Ok(loaded.map(|it| it.archived(&self.archive)))
    }

    /// Holds a path that is the same.
    pub(crate) fn hold(&mut self, mut found: Found) {
        // The directory that it is itself is opened again where it is read after all.
        found.dir = None;
        let is_elsewhere = self
            .held
            .last()
            .is_none_or(|last| !last.place.is_in_same_dir(&found.place));
        self.held_dirs += usize::from(is_elsewhere);
        if self.held_dirs > DIRS_MAX {
            found.close();
        }
        self.held.push(found);
    }

    /// The complete segment with its one member; `None` where that is damaged.
    pub(crate) fn take(&mut self) -> Option<(Taken, Segment)> {
        let loaded = self.current.take()?;
        // Anything else would put into the archive what is not in the sources.
        let names = self.held.iter().map(|it| it.name.as_os_str().as_bytes());
        if !names.eq(loaded.segment.entries.iter().map(|it| &it.path[..])) {
            return None;
        }
        let [member] = &loaded.segment.members[..] else {
            return None;
        };
        let taken = self.archive.take(loaded.segment.offset, member)?;
        Some((taken, loaded.segment))
    }

    /// Goes on to the segment that holds the path, or to the first one behind it.
    fn seek(&mut self, source: usize, path: &[u8]) -> Result<()> {
        while self
            .current
            .as_ref()
            .is_none_or(|it| it.ends_before(source, path))
        {
            let Some(segment) = (self.next)()? else {
                self.current = None;
                return Ok(());
            };
            ensure!(!segment.entries.is_empty(), "a segment has no entry");
            self.current = Some(self.load(segment));
        }
        Ok(())
    }

    fn load(&mut self, segment: Segment) -> Loaded {
        let mut sources = Vec::with_capacity(segment.entries.len());
        for entry in &segment.entries {
            // A source itself comes first of all that is below it.
            let begun = self.sources.get(&entry.path).copied();
            self.source = self.source.max(begun.unwrap_or_default());
            sources.push(self.source);
        }
        Loaded { segment, sources }
    }

    /// As far as lstat(2) can tell.
    fn is_unchanged(&self, entry: &Entry, found: &Found, opener: &Opener) -> bool {
        let status = &found.status;
        let Some(source) = entry.source.filter(|_| entry.problem.is_none()) else {
            return false;
        };
        let now = status.source();
        let changed_at = match self.rules.ignore_ctime {
            true => entry.mtime,
            false => source.ctime,
        };
        let (uid, gid) = status.owner();
        changed_at < self.rules.unsure_from
            && (self.rules.ignore_ctime || now.ctime == source.ctime)
            && (self.rules.ignore_inode || now.inode == source.inode)
            && (entry.mtime, entry.mode) == (status.mtime(), status.mode())
            && (entry.uid, entry.gid) == (uid, gid)
            && opener.has_names(entry)
            && is_same_kind(entry, found, opener)
    }
}

impl Loaded {
    fn archived(&self, archive: &Arc<Archive>) -> Archived {
        Archived {
            archive: archive.clone(),
            offset: self.segment.offset,
            members: self.segment.members.clone(),
        }
    }

    /// Whether the walk is past all of it.
    fn ends_before(&self, source: usize, path: &[u8]) -> bool {
        let last = self.segment.entries.len() - 1;
        let position = (self.sources[last], Order(&self.segment.entries[last].path));
        position < (source, Order(path))
    }
}

/// Type, size, and where it leads.
fn is_same_kind(entry: &Entry, found: &Found, opener: &Opener) -> bool {
    let status = &found.status;
    let first = opener.first_name(status);
    if let Some(first) = first {
        return entry.entry_type == EntryType::HardLink && entry.link_target == first;
    }
    match (entry.entry_type, status.kind()) {
        (EntryType::File, FileType::RegularFile) => entry.size == status.size(),
        (EntryType::Directory, FileType::Directory) | (EntryType::Fifo, FileType::Fifo) => true,
        (EntryType::Symlink, FileType::Symlink) => found
            .place
            .target()
            .is_ok_and(|target| target == entry.link_target),
        (EntryType::CharDevice, FileType::CharacterDevice)
        | (EntryType::BlockDevice, FileType::BlockDevice) => {
            entry.device_numbers == Some(status.device())
        }
        _ => false,
    }
}

/// The order of the walk: by name, what is in a directory directly after it.
#[derive(PartialEq, Eq)]
struct Order<'a>(&'a [u8]);

impl PartialOrd for Order<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Order<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        parts(self.0).cmp(parts(other.0))
    }
}

impl Archive {
    /// A member, if it is as it was written.
    fn take(self: &Arc<Self>, offset: u64, member: &Member) -> Option<Taken> {
        let mut bytes = vec![0; member.bytes as usize];
        let read = self.file.read_exact_at(&mut bytes, offset);
        let reason = match read {
            Ok(()) if Hash::from(blake3::hash(&bytes)) == member.hash => {
                return Some(Taken {
                    bytes,
                    member: member.clone(),
                    archive: self.clone(),
                    offset,
                });
            }
            Ok(()) => format!("a member (at byte {offset} of the file) is damaged"),
            Err(error) => format!("its byte {offset} cannot be read: {error}"),
        };
        self.damage.get_or_init(|| reason);
        None
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Why it is not as it was written, once that was found out.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    /// Whether it has these bytes there.
    pub(crate) fn has(&self, offset: u64, bytes: &[u8]) -> bool {
        let mut there = vec![0; bytes.len()];
        self.file.read_exact_at(&mut there, offset).is_ok() && there == bytes
    }
}

impl Archived {
    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// All its members, from the first on; `None` for one that is damaged.
    pub(crate) fn members(self) -> impl FnMut() -> Option<Taken> {
        let mut offset = self.offset;
        let mut members = self.members.into_iter();
        move || {
            let member = members.next()?;
            let begin = offset;
            offset += member.padded_bytes();
            self.archive.take(begin, &member)
        }
    }

    pub(crate) fn pieces(self) -> Pieces {
        let mut offset = self.offset;
        let mut members = HashMap::new();
        for member in self.members {
            let begin = offset;
            offset += member.padded_bytes();
            if let Some(hash) = member.content_hash {
                members.insert(hash, (begin, member));
            }
        }
        Pieces {
            archive: self.archive,
            members,
        }
    }
}

impl Pieces {
    /// The member that holds what has this hash; none where it is damaged.
    pub(crate) fn take(&self, content_hash: &Hash) -> Option<Taken> {
        let (offset, member) = self.members.get(content_hash)?;
        self.archive.take(*offset, member)
    }
}
