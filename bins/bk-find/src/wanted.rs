//! Which entries are wanted beside their names: by type, size, time and owner.
//!
//! A pure function of an entry. Knows no archive.

use anyhow::Result;
use bk_cli::{Arguments, units};
use bk_schema::invalid::parse_choice;
use bk_schema::manifest::{Entry, EntryType, FileTime};
use bk_store::manifest::search::Hint;
use jiff::Timestamp;

use crate::flags::{LARGER, NEWER, OLDER, OWNER, SMALLER, TYPE};

const TYPES: [(&str, EntryType); 7] = [
    ("f", EntryType::File),
    ("d", EntryType::Directory),
    ("l", EntryType::Symlink),
    ("h", EntryType::HardLink),
    ("p", EntryType::Fifo),
    ("c", EntryType::CharDevice),
    ("b", EntryType::BlockDevice),
];

/// What an entry must be. All of it.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    types: Vec<EntryType>,
    larger_bytes: Option<u64>,
    smaller_bytes: Option<u64>,
    newer: Option<FileTime>,
    older: Option<FileTime>,
    owner: Option<String>,
}

impl Wanted {
    pub(crate) fn new(arguments: &Arguments, now: Timestamp) -> Result<Self> {
        let types = arguments.all_parsed(&TYPE, |text| {
            let each = text.split(',').map(|it| parse_choice(&TYPES, it, "type"));
            each.collect::<Result<Vec<_>>>()
        })?;
        let time = |text: &str| units::parse_past(text, now).map(file_time);
        Ok(Self {
            types: types.concat(),
            larger_bytes: arguments.parsed(&LARGER, units::parse_size)?,
            smaller_bytes: arguments.parsed(&SMALLER, units::parse_size)?,
            newer: arguments.parsed(&NEWER, time)?,
            older: arguments.parsed(&OLDER, time)?,
            owner: arguments.text(&OWNER)?.map(str::to_owned),
        })
    }

    /// Whether nothing is asked for.
    pub(crate) fn is_nothing(&self) -> bool {
        self.types.is_empty()
            && self.larger_bytes.or(self.smaller_bytes).is_none()
            && self.newer.or(self.older).is_none()
            && self.owner.is_none()
    }

    pub(crate) fn is_met_by(&self, entry: &Entry) -> bool {
        let has_size = entry.entry_type == EntryType::File;
        (self.types.is_empty() || self.types.contains(&entry.entry_type))
            && self
                .larger_bytes
                .is_none_or(|bytes| has_size && entry.size > bytes)
            && self
                .smaller_bytes
                .is_none_or(|bytes| has_size && entry.size < bytes)
            && self.newer.is_none_or(|time| entry.mtime >= time)
            && self.older.is_none_or(|time| entry.mtime < time)
            && self.owner.as_ref().is_none_or(|owner| {
                owner.as_bytes() == entry.uname || owner.parse() == Ok(entry.uid)
            })
    }

    /// Adds what the manifests can be asked for.
    pub(crate) fn hint(&self, hint: Hint) -> Hint {
        Hint {
            size_min_bytes: self.larger_bytes.unwrap_or(0),
            size_max_bytes: self.smaller_bytes,
            ..hint
        }
    }
}

fn file_time(time: Timestamp) -> FileTime {
    let nanos = time.subsec_nanosecond();
    FileTime {
        secs: time.as_second() - i64::from(nanos < 0),
        nanos: nanos.rem_euclid(1_000_000_000) as u32,
    }
}
