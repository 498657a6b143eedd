//! The entries of an archive that count: superseded ones are skipped, and if wanted, the intact part
//! of a damaged archive is salvaged.
//!
//! Everything that restores, compares, prints and lists uses this, so that all agree. Knows no target.

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
    /// The number of the next entry in the archive.
    number: usize,
    is_salvaging: bool,
}

impl Entries {
    /// Opens an archive as [`seek::read`] does. While salvaging, damage only loses the affected
    /// entries. One of another program is read once before, to find
    /// superseded entries.
    ///
    /// # Errors
    /// Failed reads, and being interrupted.
    pub fn read(
        archive: &File,
        ranges: Option<&[NameRange]>,
        jobs: usize,
        is_salvaging: bool,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Self> {
        Ok(Self {
            superseded: Superseded::of(archive, jobs, is_stopped)?,
            reader: seek::read(archive, ranges, jobs, is_stopped)?,
            number: 0,
            is_salvaging,
        })
    }

    /// The next entry that counts.
    ///
    /// # Errors
    /// As [`Reader::next_entry`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        loop {
            let entry = match self.is_salvaging {
                true => self.reader.next_intact(),
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

    /// Whether the rest of the last entry could not be read, and salvaging continues after it.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_salvaging && self.reader.blocks.is_cut
    }

    /// As [`Reader::is_own`].
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.reader.is_own()
    }

    /// Whether damage was skipped.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !self.reader.lost.is_empty()
    }

    /// Notes about oddities and skipped damage so far.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.reader.notes().texts();
        notes.extend(self.superseded.note());
        let lost = self.reader.lost.iter();
        notes.extend(lost.map(|error| format!("something is lost: {error}")));
        notes
    }

    /// The input at its present position.
    #[must_use]
    pub fn into_input(self) -> Inflate {
        self.reader.into_input()
    }
}
