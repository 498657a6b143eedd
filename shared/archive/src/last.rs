//! Which entries of an archive another one of the same name comes after: `tar -r` and `tar -u` add
//! to an archive what has changed, and the last one counts.
//!
//! Keeps a hash of each name and no name, so that the memory is bounded. Archives of bk's have each
//! name once.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};

use anyhow::{Result, ensure};

use crate::entry::{Entry, Kind};
use crate::names::plain;
use crate::seek;

/// In an archive of more entries no names are compared: that would take the memory.
const NAMES_MAX: usize = 4 << 20;

/// The names of entries, as they come.
#[derive(Default)]
pub struct Names {
    hashers: (RandomState, RandomState),
    /// With the number of the entry.
    hashes: Vec<([u32; 3], u32)>,
    of_themselves: HashSet<u32>,
    count: u32,
}

impl Names {
    /// Adds the name of the next entry.
    pub fn add(&mut self, entry: &Entry) {
        let number = self.count;
        self.count = self.count.saturating_add(1);
        let Ok(name) = plain(&entry.path) else {
            return;
        };
        // A further name of itself takes nothing's place, and is none.
        if let Kind::HardLink(to) = &entry.kind
            && plain(to).is_ok_and(|to| to == name)
        {
            self.of_themselves.insert(number);
            return;
        }
        if self.hashes.len() == NAMES_MAX {
            return;
        }
        let one = self.hashers.0.hash_one(&name);
        let other = self.hashers.1.hash_one(&name);
        let hash = [one as u32, (one >> 32) as u32, other as u32];
        self.hashes.push((hash, number));
    }

    /// Those that another one comes after.
    #[must_use]
    pub fn superseded(mut self) -> Superseded {
        self.hashes.sort_unstable();
        let pairs = self.hashes.windows(2);
        let earlier = pairs.filter(|pair| pair[0].0 == pair[1].0);
        let mut superseded = self.of_themselves;
        superseded.extend(earlier.map(|pair| pair[0].1));
        Superseded(superseded)
    }
}

/// Numbers of entries in their archive, from 0 on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Superseded(HashSet<u32>);

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

    /// Whether another entry of the same name comes after the one of this number.
    #[must_use]
    pub fn has(&self, number: usize) -> bool {
        u32::try_from(number).is_ok_and(|number| self.0.contains(&number))
    }

    /// A sentence for people; `None` where there are none.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        match self.0.len() {
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
        let has: Vec<_> = (0..8).filter(|number| superseded.has(*number)).collect();
        assert_eq!(has, [1, 2, 7]);
        assert_eq!(Names::default().superseded().note(), None);
    }
}
