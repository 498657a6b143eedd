//! Which entries of an archive another one of the same name comes after: `tar -r` and `tar -u` add
//! to an archive what has changed, and the last one counts.
//!
//! A hard link means what had the name when it came: the first such link of an entry that another
//! one comes after is its heir, and takes its content.
//!
//! Keeps a hash of each name, and names of hard links alone, so that the memory is bounded.
//! Archives of bk's have each name once.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};

use anyhow::{Result, ensure};

use crate::format::entry::{Entry, Kind};
use crate::read::seek;
use crate::restore::names::normalize;

/// In an archive of more entries no names are compared: that would take the memory.
const NAMES_MAX: usize = 4 << 20;
/// So many bytes of names of hard links are kept; further ones inherit nothing.
const LINK_NAMES_MAX_BYTES: usize = 32 << 20;

/// Of a name.
type Hash = [u32; 3];

struct Link {
    number: u32,
    to: Hash,
    path: Vec<u8>,
}

/// The names of entries, as they come.
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
            // A further name of itself takes nothing's place, and is none.
            if to == name {
                self.of_themselves.insert(number);
                return;
            }
            self.add_link(number, &to, &entry.path);
        }
        if self.hashes.len() < NAMES_MAX {
            let hash = self.hash(&name);
            self.hashes.push((hash, number));
        }
    }

    fn add_link(&mut self, number: u32, to: &[u8], path: &[u8]) {
        self.link_bytes = self.link_bytes.saturating_add(path.len());
        if self.link_bytes <= LINK_NAMES_MAX_BYTES {
            let (to, path) = (self.hash(to), path.to_owned());
            self.links.push(Link { number, to, path });
        }
    }

    fn hash(&self, name: &[u8]) -> Hash {
        let one = self.hashers.0.hash_one(name);
        let other = self.hashers.1.hash_one(name);
        [one as u32, (one >> 32) as u32, other as u32]
    }

    /// Those that another one comes after.
    #[must_use]
    pub fn superseded(mut self) -> Superseded {
        self.hashes.sort_unstable();
        let pairs = self.hashes.windows(2);
        let earlier = pairs.filter(|pair| pair[0].0 == pair[1].0);
        let mut numbers = self.of_themselves;
        numbers.extend(earlier.map(|pair| pair[0].1));
        let mut names = HashMap::new();
        for link in self.links {
            // The last of the name that came before the link.
            let after = (link.to, link.number);
            let at = self.hashes.partition_point(|one| *one < after);
            let first = at.checked_sub(1).map(|at| self.hashes[at]);
            if let Some((_, first)) = first.filter(|(hash, _)| *hash == link.to)
                && numbers.contains(&first)
                && !numbers.contains(&link.number)
            {
                names.entry(first).or_insert_with(Vec::new).push(link);
            }
        }
        let mut superseded = Superseded {
            numbers,
            ..Superseded::default()
        };
        for (first, links) in names {
            superseded.give_to(first, links);
        }
        superseded
    }
}

/// Numbers of entries in their archive, from 0 on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Superseded {
    numbers: HashSet<u32>,
    /// Entries that are superseded and have an heir, with its name; the heir itself is passed over.
    heirs: HashMap<u32, Vec<u8>>,
    passed: HashSet<u32>,
    /// Further hard links to such an entry, with the name of the heir.
    links: HashMap<u32, Vec<u8>>,
}

impl Superseded {
    /// Those of an archive, which is read for it where it is another program's. One that is damaged
    /// is read as far as that goes.
    ///
    /// # Errors
    /// Those of the file, and having been stopped.
    pub fn of(archive: &File, jobs: usize, is_stopped: &dyn Fn() -> bool) -> Result<Self> {
        if seek::is_own(archive) {
            return Ok(Self::default());
        }
        let mut reader = seek::read(archive, None, jobs, is_stopped)?;
        let mut names = Names::default();
        while let Some(entry) = reader.next_whole() {
            ensure!(!is_stopped(), "interrupted");
            names.add(&entry);
        }
        // The next reading shares the place in the file: this one is to be over.
        reader.into_input().whole();
        Ok(names.superseded())
    }

    /// The links are in the order of the archive.
    fn give_to(&mut self, first: u32, links: Vec<Link>) {
        let mut links = links.into_iter();
        if let Some(heir) = links.next() {
            self.links
                .extend(links.map(|link| (link.number, heir.path.clone())));
            self.passed.insert(heir.number);
            self.heirs.insert(first, heir.path);
        }
    }

    /// What the entry of this number is to be taken for; `None` where another one of the same name
    /// comes after it, and for an heir, whose entry came before.
    #[must_use]
    pub fn resolve(&self, number: usize, mut entry: Entry) -> Option<Entry> {
        let Ok(number) = u32::try_from(number) else {
            return Some(entry);
        };
        if let Some(heir) = self.heirs.get(&number) {
            entry.path.clone_from(heir);
            return Some(entry);
        }
        if let Some(heir) = self.links.get(&number) {
            entry.kind = Kind::HardLink(heir.clone());
        }
        let is_passed = self.numbers.contains(&number) || self.passed.contains(&number);
        (!is_passed).then_some(entry)
    }

    /// A sentence for people; `None` where there are none.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        match self.numbers.len() {
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
