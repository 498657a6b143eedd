//! Reads a manifest, some thousands of rows at a time.
//!
//! Believes nothing of it: what does not fit together is an error. Knows no record.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bk_schema::manifest::{Entry, EntryType, FileTime, Member, Segment, SourceFile};
use duckdb::types::{TimeUnit, ValueRef};
use duckdb::{Connection, Row};

use crate::archives::open::is_absent;
use crate::home::Home;
use crate::manifest::table::{
    COLUMNS, ROW_GROUP_ROWS, VERSION, connect, dir, is_possible, path, quoted, sha256,
};

/// The segments of a manifest, in the order of the archive.
pub struct Reader {
    connection: Connection,
    sql: String,
    format: Option<String>,
    /// Rows that were read.
    row_count: u64,
    is_ended: bool,
    /// Segments that are complete.
    ready: VecDeque<Segment>,
    /// The one whose rows are not all read.
    last: Option<Segment>,
    last_bytes: u64,
    /// Where the next segment may begin.
    end: u64,
}

impl Reader {
    /// Opens the manifest of an archive; `None` where there is none. With a `hash` it is read only if
    /// it is exactly that file.
    ///
    /// # Errors
    /// A manifest that is no such file, or another one.
    pub fn open(home: &Home, archive_hash: &str, hash: Option<&str>) -> Result<Option<Self>> {
        let place = path(home, archive_hash);
        let cannot = || format!("cannot read '{}'", place.display());
        let file = match File::open(&place) {
            Err(error) if is_absent(&error) => return Ok(None),
            opened => opened.with_context(cannot)?,
        };
        if !is_possible(&dir(home)) {
            return Ok(None);
        }
        if let Some(hash) = hash {
            let is_same = sha256(&file).with_context(cannot)? == hash;
            ensure!(is_same, "{}: it is not as it was written", cannot());
        }
        let reader = Self::of(&dir(home), &place).with_context(cannot)?;
        Ok(Some(reader))
    }

    fn of(dir: &Path, place: &Path) -> Result<Self> {
        let columns: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
        let place = quoted(&place.display().to_string());
        let connection = connect(dir, "")?;
        let told = |key: &str| {
            let sql = format!(
                "SELECT max(decode(value)) FROM parquet_kv_metadata({place}) WHERE decode(key) = ?"
            );
            connection.query_row(&sql, [key], |row| row.get::<_, Option<String>>(0))
        };
        let is_ours = told("manifest_version")?.as_deref() == Some(VERSION);
        ensure!(is_ours, "it is of another version of bk");
        let format = told("archive_format")?;
        Ok(Self {
            connection,
            format,
            sql: format!(
                "SELECT {} FROM read_parquet({place}, file_row_number = true)
                 WHERE file_row_number >= ? AND file_row_number < ? ORDER BY file_row_number",
                columns.join(", ")
            ),
            row_count: 0,
            is_ended: false,
            ready: VecDeque::new(),
            last: None,
            last_bytes: 0,
            end: 0,
        })
    }

    /// How the archive was made.
    pub fn format(&self) -> Option<&str> {
        self.format.as_deref()
    }

    fn fill(&mut self) -> Result<()> {
        let from = self.row_count;
        let to = from + ROW_GROUP_ROWS as u64;
        let mut entries = Vec::new();
        let mut statement = self.connection.prepare_cached(&self.sql)?;
        let mut rows = statement.query([from, to])?;
        while let Some(row) = rows.next()? {
            entries.push(entry_of(row)?);
        }
        drop(rows);
        drop(statement);
        self.row_count += entries.len() as u64;
        self.is_ended = entries.len() < ROW_GROUP_ROWS;
        for (entry, place) in entries {
            self.push(entry, place)?;
        }
        if self.is_ended {
            self.close();
        }
        Ok(())
    }

    fn push(&mut self, entry: Entry, place: Place) -> Result<()> {
        if let Some(members) = place.members {
            self.close();
            let (ends_itself, members) = members;
            let segment = Segment {
                offset: place.offset,
                members,
                entries: vec![entry],
                ends_itself,
            };
            ensure!(
                segment.offset >= self.end && segment.bytes() == place.bytes,
                "its segments do not fit together"
            );
            let end = segment.offset.checked_add(place.bytes);
            self.end = end.context("its segments do not fit together")?;
            self.last_bytes = place.bytes;
            self.last = Some(segment);
            return Ok(());
        }
        let last = self
            .last
            .as_mut()
            .filter(|last| last.offset == place.offset);
        let last = last.filter(|_| self.last_bytes == place.bytes);
        let last = last.context("an entry is in no segment")?;
        last.entries.push(entry);
        Ok(())
    }

    fn close(&mut self) {
        self.ready.extend(self.last.take());
    }

    /// The next segment.
    ///
    /// # Errors
    /// Rows that cannot be read, or do not fit together.
    pub fn next_segment(&mut self) -> Result<Option<Segment>> {
        while self.ready.is_empty() && !self.is_ended {
            self.fill()?;
        }
        Ok(self.ready.pop_front())
    }
}

/// Where the row says that the entry is.
struct Place {
    offset: u64,
    bytes: u64,
    /// In the first row of a segment.
    members: Option<(bool, Vec<Member>)>,
}

fn entry_of(row: &Row<'_>) -> Result<(Entry, Place)> {
    let text = |at| -> Result<Vec<u8>> {
        match row.get_ref(at)? {
            ValueRef::Text(text) => Ok(text.to_owned()),
            ValueRef::Null => Ok(Vec::new()),
            _ => bail!("column {at} is no text"),
        }
    };
    let exact = |text_at: usize, bytes_at: usize| -> Result<Vec<u8>> {
        match row.get::<_, Option<Vec<u8>>>(bytes_at)? {
            Some(bytes) => Ok(bytes),
            None => text(text_at),
        }
    };
    let entry_type = String::from_utf8(text(2)?).unwrap_or_default();
    let source = match row.get::<_, Option<u64>>(14)? {
        None => None,
        Some(inode) => Some(SourceFile {
            ctime: time(row, 12)?,
            inode,
            device: row.get(15)?,
        }),
    };
    let major: Option<u32> = row.get(18)?;
    let entry = Entry {
        path: exact(0, 1)?,
        entry_type: EntryType::from_name(&entry_type)
            .with_context(|| format!("it has the unknown type '{entry_type}'"))?,
        size: row.get(3)?,
        data_bytes: row.get(4)?,
        mode: row.get(5)?,
        uid: row.get(6)?,
        gid: row.get(7)?,
        uname: text(8)?,
        gname: text(9)?,
        mtime: time(row, 10)?,
        source,
        link_target: exact(16, 17)?,
        device_numbers: major.zip(row.get(19)?),
        problem: row.get(20)?,
    };
    let members: Option<Vec<u8>> = row.get(23)?;
    let place = Place {
        offset: row.get(21)?,
        bytes: row.get(22)?,
        members: members.map(|it| unpack(&it)).transpose()?,
    };
    Ok((entry, place))
}

fn time(row: &Row<'_>, at: usize) -> Result<FileTime> {
    let ValueRef::Timestamp(TimeUnit::Microsecond, micros) = row.get_ref(at)? else {
        bail!("column {at} is no time");
    };
    let nanos: u16 = row.get(at + 1)?;
    ensure!(nanos < 1000, "column {at} is no time");
    Ok(FileTime {
        secs: micros.div_euclid(1_000_000),
        nanos: micros.rem_euclid(1_000_000) as u32 * 1000 + u32::from(nanos),
    })
}

fn unpack(mut packed: &[u8]) -> Result<(bool, Vec<Member>)> {
    let mut members = Vec::new();
    let cut = "the list of its members is cut short";
    let ends_itself = *packed.split_off_first().context(cut)? != 0;
    while !packed.is_empty() {
        let bytes = packed.split_off(..4).and_then(<[u8]>::first_chunk);
        let padding = packed.split_off(..4).and_then(<[u8]>::first_chunk);
        let hash = packed.split_off(..32).and_then(<[u8]>::first_chunk);
        let content_hash = match packed.split_off_first() {
            Some(0) => None,
            Some(1) => Some(
                packed
                    .split_off(..32)
                    .and_then(<[u8]>::first_chunk)
                    .context(cut)?,
            ),
            _ => bail!(cut),
        };
        members.push(Member {
            bytes: u32::from_le_bytes(*bytes.context(cut)?),
            padding_bytes: u32::from_le_bytes(*padding.context(cut)?),
            hash: *hash.context(cut)?,
            content_hash: content_hash.copied(),
        });
    }
    Ok((ends_itself, members))
}
