//! Finds superseded entries: `tar -r` and `tar -u` append changed files under the same name, and the
//! last entry counts.
//!
//! A hard link refers to the entry that had the name at that point. If that entry is superseded, the
//! first link to it takes over its content: it is the heir.
//!
//! Stores a hash per name, and the names of hard links only, so that the memory is bounded. In
//! archives of bk's every name is unique.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};

use anyhow::{Result, ensure};

use crate::format::entry::{Entry, Kind};
use crate::read::seek;
use crate::restore::names::normalize;

/// The limit of names that are compared.
const NAMES_MAX: usize = 4 << 20;
/// The limit for names of hard links; further ones cannot become heirs.
const LINK_NAMES_MAX_BYTES: usize = 32 << 20;

/// The hash of a name.
type Hash = [u32; 3];

struct Link {
    number: u32,
    to: Hash,
    path: Vec<u8>,
}

/// Collects the names of entries.
#[derive(Default)]
pub struct Names {
    hashers: (RandomState, RandomState),
    /// With the number of the entry.
    hashes: Vec<(Hash, u32)>,
    links: Vec<Link>,
    link_bytes: usize,
    of_themselves: HashSet<u32>,
    count: u32,
}

impl Names {
    /// Adds the name of the next entry.
    pub fn add(&mut self, entry: &Entry) {
        let number = self.count;
        self.count = self.count.saturating_add(1);
        let Ok(name) = normalize(&entry.path) else {
            return;
        };
        if let Kind::HardLink(to) = &entry.kind
            && let Ok(to) = normalize(to)
        {
            // A hard link to itself supersedes nothing and is ignored.
            if to == name {
                self.of_themselves.insert(number);
                return;
            }
            self.link_bytes = self.link_bytes.saturating_add(entry.path.len());
            if self.link_bytes <= LINK_NAMES_MAX_BYTES {
                let (to, path) = (self.hash(&to), entry.path.clone());
                self.links.push(Link { number, to, path });
            }
        }
        if self.hashes.len() < NAMES_MAX {
            let hash = self.hash(&name);
            self.hashes.push((hash, number));
        }
    }

    fn hash(&self, name: &[u8]) -> Hash {
        let one = self.hashers.0.hash_one(name);
        let other = self.hashers.1.hash_one(name);
        [one as u32, (one >> 32) as u32, other as u32]
    }

    /// The superseded entries.
    #[must_use]
    pub fn superseded(mut self) -> Superseded {
        self.hashes.sort_unstable();
        let pairs = self.hashes.windows(2);
        let earlier = pairs.filter(|pair| pair[0].0 == pair[1].0);
        let mut numbers = self.of_themselves;
        numbers.extend(earlier.map(|pair| pair[0].1));
        let mut heirs = HashMap::new();
        let mut fates: HashMap<_, _> = numbers.iter().map(|it| (*it, Fate::Skipped)).collect();
        // In the order of the archive.
        for link in self.links {
            // The last entry with the name before the link.
            let after = (link.to, link.number);
            let at = self.hashes.partition_point(|one| *one < after);
            let first = at.checked_sub(1).map(|at| self.hashes[at]);
            let Some((_, first)) = first.filter(|(hash, _)| *hash == link.to) else {
                continue;
            };
            if !numbers.contains(&first) || numbers.contains(&link.number) {
                continue;
            }
            match heirs.get(&first) {
                Some(heir) => fates.insert(link.number, Fate::LinkTo(Vec::clone(heir))),
                None => {
                    heirs.insert(first, link.path.clone());
                    fates.insert(first, Fate::Renamed(link.path));
                    fates.insert(link.number, Fate::Skipped)
                }
            };
        }
        Superseded {
            count: numbers.len(),
            fates,
        }
    }
}

/// The superseded entries, and what becomes of the hard links to them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Superseded {
    count: usize,
    /// By the number of the entry in the archive, from 0.
    fates: HashMap<u32, Fate>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Superseded, or an heir, whose content came before.
    Skipped,
    /// Superseded, but with an heir: gets its name.
    Renamed(Vec<u8>),
    /// A further hard link to such an entry: to the heir.
    LinkTo(Vec<u8>),
}

impl Superseded {
    /// Reads an archive of another program for them. Damage is skipped.
    ///
    /// # Errors
    /// Failed reads, and being interrupted.
    pub fn of(archive: &File, jobs: usize, is_stopped: &dyn Fn() -> bool) -> Result<Self> {
        if seek::is_own(archive) {
            return Ok(Self::default());
        }
        let mut reader = seek::read(archive, None, jobs, is_stopped)?;
        let mut names = Names::default();
        while let Some(entry) = reader.next_intact() {
            ensure!(!is_stopped(), "interrupted");
            names.add(&entry);
        }
        // Wait until reading has ended, as the next reader shares the file position.
        reader.into_input().whole();
        Ok(names.superseded())
    }

    /// The entry to use in place of the one with this number, if any.
    #[must_use]
    pub fn resolve(&self, number: usize, mut entry: Entry) -> Option<Entry> {
        let number = u32::try_from(number).ok();
        match number.and_then(|number| self.fates.get(&number)) {
            Some(Fate::Skipped) => return None,
            Some(Fate::Renamed(heir)) => entry.path.clone_from(heir),
            Some(Fate::LinkTo(heir)) => entry.kind = Kind::HardLink(heir.clone()),
            None => {}
        }
        Some(entry)
    }

    /// A note; `None` if there are none.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        match self.count {
            0 => None,
            1 => Some("a name comes twice: the last one counts".to_owned()),
            count => Some(format!(
                "{count} entries have a name that comes again: the last one counts"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry {
            path: path.into(),
            kind,
            size: 0,
            mode: 0,
            uid: 0,
            gid: 0,
            uname: Vec::new(),
            gname: Vec::new(),
            mtime: Default::default(),
            xattrs: Vec::new(),
            acl_texts: Vec::new(),
        }
    }

    #[test]
    fn the_last_of_a_name_counts_however_it_is_written() {
        let mut names = Names::default();
        for path in ["d", "d/f", "./d/f", "e", "d//f", "..", ".."] {
            names.add(&entry(path, Kind::Directory));
        }
        names.add(&entry("e", Kind::HardLink(b"./e".to_vec())));
        let superseded = names.superseded();
        let passed: Vec<_> = (0..8)
            .filter(|number| {
                superseded
                    .resolve(*number, entry("x", Kind::Fifo))
                    .is_none()
            })
            .collect();
        assert_eq!(passed, [1, 2, 7]);
        assert_eq!(Names::default().superseded().note(), None);
    }
}
