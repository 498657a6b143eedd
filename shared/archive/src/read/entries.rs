//! The entries of an archive that are to be restored: those that another of the same name comes
//! after are passed over, and of a damaged archive what is whole is found, where that is wanted.
//!
//! What restores, compares, prints and lists reads by this, so that all agree. Knows no place to
//! unpack to.

use std::fs::File;
use std::io::Read;

use anyhow::Result;

use crate::format::entry::Entry;
use crate::read::inflate::Inflate;
use crate::read::last::Superseded;
use crate::read::reader::Reader;
use crate::read::seek;
use crate::restore::names::NameRange;

/// Reads the entries that count.
pub struct Entries {
    reader: Reader<Inflate>,
    superseded: Superseded,
    /// Of the next entry in the archive.
    number: usize,
    is_salvaging: bool,
}

impl Entries {
    /// As [`seek::read`]; an archive of another program is read once before, for the names in it.
    ///
    /// # Errors
    /// Those of the file, and having been stopped.
    pub fn read(
        archive: &File,
        ranges: Option<&[NameRange]>,
        jobs: usize,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Self> {
        Ok(Self {
            superseded: Superseded::of(archive, jobs, is_stopped)?,
            reader: seek::read(archive, ranges, jobs, is_stopped)?,
            number: 0,
            is_salvaging: false,
        })
    }

    /// Whether, from now on, damage ends nothing but the entries that it hits.
    pub fn salvage(&mut self, is_wanted: bool) {
        self.is_salvaging = is_wanted;
    }

    /// The next entry that counts.
    ///
    /// # Errors
    /// As [`Reader::next_entry`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        loop {
            let entry = match self.is_salvaging {
                true => self.reader.next_whole(),
                false => self.reader.next_entry()?,
            };
            let Some(entry) = entry else {
                return Ok(None);
            };
            let number = self.number;
            self.number += 1;
            if let Some(entry) = self.superseded.resolve(number, entry) {
                return Ok(Some(entry));
            }
        }
    }

    /// The content of the last entry: of a file with holes, the data alone.
    pub fn content(&mut self) -> impl Read + '_ {
        self.reader.content()
    }

    /// Whether what is left of the last entry cannot be read, and the entries after it are sought
    /// all the same.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_salvaging && self.reader.is_cut()
    }

    /// As [`Reader::is_own`].
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.reader.is_own()
    }

    /// Whether something that is damaged was passed over.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !self.reader.lost().is_empty()
    }

    /// What was odd so far, and what was damaged and passed over, for people.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.reader.notes().texts();
        notes.extend(self.superseded.note());
        let lost = self.reader.lost().iter();
        notes.extend(lost.map(|error| format!("something is lost: {error}")));
        notes
    }

    /// What it reads from, where it is.
    #[must_use]
    pub fn into_input(self) -> Inflate {
        self.reader.into_input()
    }
}
