//! The versions of each file: the same file in several backups is one.
//!
//! Knows no manifest.

use bk_schema::manifest::{Entry, parts};
use bk_schema::record::Backup;

/// One version.
pub(crate) struct Version<'a> {
    /// As the newest backup has it that has this version.
    pub(crate) entry: Entry,
    /// The newest that has it.
    pub(crate) last: &'a Backup,
    /// The oldest that has it.
    pub(crate) first: &'a Backup,
    /// How many have it.
    pub(crate) count: u64,
}

/// Versions of each name, the names in the order of the archive, each with its newest first.
pub(crate) fn fold(mut finds: Vec<(&Backup, Entry)>) -> Vec<Version<'_>> {
    by_name(&mut finds);
    let mut versions: Vec<Version<'_>> = Vec::new();
    // Where those of the present name begin.
    let mut begin = 0;
    for (backup, entry) in finds {
        if versions
            .get(begin)
            .is_some_and(|it| it.entry.path != entry.path)
        {
            begin = versions.len();
        }
        let of_name = &mut versions[begin..];
        match of_name.iter_mut().find(|it| is_same(&it.entry, &entry)) {
            Some(version) => {
                version.first = backup;
                version.count += 1;
            }
            None => versions.push(Version {
                entry,
                last: backup,
                first: backup,
                count: 1,
            }),
        }
    }
    versions
}

/// Sorts by name in the order of the archive, of each the newest backup first.
pub(crate) fn by_name(finds: &mut [(&Backup, Entry)]) {
    finds.sort_by(|(a, entry), (b, other)| {
        let newest = (b.created_at, b.id).cmp(&(a.created_at, a.id));
        parts(&entry.path).cmp(parts(&other.path)).then(newest)
    });
}

/// A manifest that was made from its archive knows no inode.
fn is_same(one: &Entry, other: &Entry) -> bool {
    let inodes = one.source.zip(other.source);
    (one.size, one.mtime) == (other.size, other.mtime)
        && inodes.is_none_or(|(one, other)| one.inode == other.inode)
}
