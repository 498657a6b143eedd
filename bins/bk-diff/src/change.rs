//! What became of an entry, as far as two manifests tell.
//!
//! A pure function of both. Knows no content.

use bk_schema::manifest::{Entry, EntryType};

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Added,
    Removed,
    /// Its content, or what it leads to.
    Modified,
    /// Its mode, owner or time, or what tells that it may be another file.
    Metadata,
    /// It is something else.
    Type,
    /// Nothing that is known: its content is to tell.
    InDoubt,
}

impl Kind {
    /// Its name in lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Modified => "modified",
            Self::Metadata => "metadata",
            Self::Type => "type",
            Self::InDoubt => "in-doubt",
        }
    }
}

/// A name with what each side has of it: one of them at least.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) path: Vec<u8>,
    pub(crate) old: Option<Entry>,
    pub(crate) new: Option<Entry>,
}

impl Change {
    /// `None` where nothing changed. With `is_exact`, what may have changed unseen is in doubt.
    pub(crate) fn of(old: Option<Entry>, new: Option<Entry>, is_exact: bool) -> Option<Self> {
        let (kind, path) = match (&old, &new) {
            (Some(old), Some(new)) => (kind(old, new, is_exact)?, new.path.clone()),
            (Some(old), None) => (Kind::Removed, old.path.clone()),
            (None, new) => (Kind::Added, new.as_ref()?.path.clone()),
        };
        Some(Self {
            kind,
            path,
            old,
            new,
        })
    }

    /// The older side of it, or the newer one where only that has it.
    pub(crate) fn entry(&self) -> Option<&Entry> {
        self.old.as_ref().or(self.new.as_ref())
    }

    /// Files of the same size on both sides, of which it is not sure that they hold the same.
    pub(crate) fn is_in_doubt(&self) -> bool {
        let both = self.old.as_ref().zip(self.new.as_ref());
        both.is_some_and(|(old, new)| is_in_doubt(old, new))
    }

    /// Tells whether the content is the same; `None` where nothing changed then.
    pub(crate) fn settle(mut self, is_same: bool) -> Option<Self> {
        let (old, new) = (self.old.as_ref()?, self.new.as_ref()?);
        self.kind = match is_same {
            false => Kind::Modified,
            true if has_other_facts(old, new) => Kind::Metadata,
            true => return None,
        };
        Some(self)
    }
}

fn kind(old: &Entry, new: &Entry, is_exact: bool) -> Option<Kind> {
    use EntryType::{File, HardLink};
    let leads_elsewhere = old.link_target != new.link_target;
    let is_modified = match (old.entry_type, new.entry_type) {
        (File, File) => (old.size, old.mtime) != (new.size, new.mtime),
        // Which of its names comes first in an archive is no matter of the file: the inode tells.
        (HardLink, HardLink) => {
            old.mtime != new.mtime || !knows_inodes(old, new) && leads_elsewhere
        }
        (File, HardLink) | (HardLink, File) => old.mtime != new.mtime,
        (one, other) if one != other => return Some(Kind::Type),
        _ => leads_elsewhere || old.device_numbers != new.device_numbers,
    };
    if is_modified {
        Some(Kind::Modified)
    } else if has_other_facts(old, new) || is_other_file(old, new) {
        Some(Kind::Metadata)
    } else {
        (is_exact && is_in_doubt(old, new)).then_some(Kind::InDoubt)
    }
}

/// Mode, owner and time. That of a directory tells of its entries, which come by themselves.
fn has_other_facts(old: &Entry, new: &Entry) -> bool {
    let has_time = old.entry_type != EntryType::Directory;
    (old.mode, old.uid, old.gid) != (new.mode, new.uid, new.gid)
        || (&old.uname, &old.gname) != (&new.uname, &new.gname)
        || has_time && old.mtime != new.mtime
}

/// Whether the inode is another one, or was changed. A manifest that was made from its archive knows
/// neither.
fn is_other_file(old: &Entry, new: &Entry) -> bool {
    let sources = old.source.zip(new.source);
    old.entry_type != EntryType::Directory
        && sources.is_some_and(|(old, new)| (old.inode, old.ctime) != (new.inode, new.ctime))
}

fn knows_inodes(old: &Entry, new: &Entry) -> bool {
    old.source.is_some() && new.source.is_some()
}

fn is_in_doubt(old: &Entry, new: &Entry) -> bool {
    let is_file = |it: &Entry| it.entry_type == EntryType::File;
    is_file(old)
        && is_file(new)
        && old.size == new.size
        && (!knows_inodes(old, new) || old.mtime != new.mtime || is_other_file(old, new))
}
