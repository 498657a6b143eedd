//! Entries as columns, which is how DuckDB takes and gives many rows quickly, and what is packed into
//! the last one.
//!
//! Believes nothing of what it reads. Knows no file.

use std::fmt::{Display, Write};

use anyhow::{Context, Result, bail, ensure};
use bk_schema::manifest::{Entry, EntryType, FileTime, Member, Segment, SourceFile};
use duckdb::arrow::array::{
    Array, ArrowPrimitiveType, BinaryArray, PrimitiveArray, StringArray, StructArray,
};
use duckdb::arrow::datatypes::{TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type};
use duckdb::core::{DataChunkHandle, Inserter};

use crate::manifest::table::COLUMNS;

/// A row that is written.
pub(super) struct Row {
    entry: Entry,
    mtime: (i64, u16),
    ctime: Option<(i64, u16)>,
    offset: u64,
    bytes: u64,
    /// Those of the segment, in its first row.
    members: Option<Vec<u8>>,
}

/// Where a row says that its entry is.
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// Of the segment, in its first row: whether it ends itself, and its members.
    pub(super) members: Option<(bool, Vec<Member>)>,
}

/// The rows of some segments.
///
/// # Errors
/// A time that no timestamp can hold.
pub(super) fn of_segments(segments: Vec<Segment>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for segment in segments {
        let mut members = Some(pack(&segment));
        let (offset, bytes) = (segment.offset, segment.bytes());
        for entry in segment.entries {
            let ctime = entry.source.map(|it| micros(it.ctime));
            rows.push(Row {
                mtime: micros(entry.mtime)?,
                ctime: ctime.transpose()?,
                offset,
                bytes,
                members: members.take(),
                entry,
            });
        }
    }
    Ok(rows)
}

/// The columns of [`write`] with their types. Numbers come as text: nothing else can be put into a
/// column of DuckDB by code that is not unsafe, but through Arrow, which takes 12 MB in each program.
pub(super) fn typed() -> String {
    let columns = COLUMNS.iter().map(|(name, kind)| match *kind {
        "VARCHAR" | "BLOB" => (*name).to_owned(),
        "TIMESTAMP" => format!("make_timestamp({name}::BIGINT) AS {name}"),
        kind => format!("{name}::{kind} AS {name}"),
    });
    columns.collect::<Vec<_>>().join(", ")
}

/// Writes as many rows as there are, at most those that `chunk` can hold.
pub(super) fn write(rows: &[Row], chunk: &DataChunkHandle) {
    let mut column = Columns { rows, chunk, at: 0 };
    column.text(|it| Some(&it.entry.path));
    column.bytes(|it| no_text(&it.entry.path));
    column.text(|it| Some(it.entry.entry_type.name().as_bytes()));
    column.number(|it| Some(it.entry.size));
    column.number(|it| Some(it.entry.data_bytes));
    column.number(|it| Some(it.entry.mode));
    column.number(|it| Some(it.entry.uid));
    column.number(|it| Some(it.entry.gid));
    column.text(|it| Some(&it.entry.uname));
    column.text(|it| Some(&it.entry.gname));
    column.number(|it| Some(it.mtime.0));
    column.number(|it| Some(it.mtime.1));
    column.number(|it| it.ctime.map(|ctime| ctime.0));
    column.number(|it| it.ctime.map(|ctime| ctime.1));
    column.number(|it| it.entry.source.map(|source| source.inode));
    column.number(|it| it.entry.source.map(|source| source.device));
    column.text(|it| Some(&it.entry.link_target[..]).filter(|target| !target.is_empty()));
    column.bytes(|it| no_text(&it.entry.link_target));
    column.number(|it| it.entry.device_numbers.map(|it| it.0));
    column.number(|it| it.entry.device_numbers.map(|it| it.1));
    column.text(|it| it.entry.problem.as_deref().map(str::as_bytes));
    column.number(|it| Some(it.offset));
    column.number(|it| Some(it.bytes));
    column.bytes(|it| it.members.as_deref());
}

/// Writes one column after the other.
struct Columns<'a> {
    rows: &'a [Row],
    chunk: &'a DataChunkHandle,
    at: usize,
}

impl<'a> Columns<'a> {
    fn bytes(&mut self, of: impl Fn(&'a Row) -> Option<&'a [u8]>) {
        let mut vector = self.chunk.flat_vector(self.at);
        self.at += 1;
        for (at, row) in self.rows.iter().enumerate() {
            match of(row) {
                Some(value) => vector.insert(at, value),
                None => vector.set_null(at),
            }
        }
    }

    /// As text for people; the bytes of what is none stand beside it.
    fn text(&mut self, of: impl Fn(&'a Row) -> Option<&'a [u8]>) {
        let mut vector = self.chunk.flat_vector(self.at);
        self.at += 1;
        for (at, row) in self.rows.iter().enumerate() {
            match of(row) {
                Some(value) => vector.insert(at, &*String::from_utf8_lossy(value)),
                None => vector.set_null(at),
            }
        }
    }

    fn number<T: Display>(&mut self, of: impl Fn(&Row) -> Option<T>) {
        let mut vector = self.chunk.flat_vector(self.at);
        self.at += 1;
        let mut text = String::new();
        for (at, row) in self.rows.iter().enumerate() {
            text.clear();
            // Writing to a string does not fail.
            match of(row).map(|number| write!(text, "{number}")) {
                Some(_) => vector.insert(at, &*text),
                None => vector.set_null(at),
            }
        }
    }
}

fn no_text(bytes: &[u8]) -> Option<&[u8]> {
    std::str::from_utf8(bytes).is_err().then_some(bytes)
}

/// Whole microseconds, and the nanoseconds after them.
fn micros(time: FileTime) -> Result<(i64, u16)> {
    let micros = time.secs.checked_mul(1_000_000);
    let micros = micros.and_then(|it| it.checked_add(i64::from(time.nanos / 1000)));
    // The ends are DuckDB's infinities, and beyond its dates.
    let micros = micros.filter(|it| it.unsigned_abs() < 1 << 62);
    let micros = micros.context("a time is too far from now for a manifest")?;
    Ok((micros, (time.nanos % 1000) as u16))
}

/// One byte that tells whether the segment ends itself; then each member as its length and that of its
/// padding in four bytes each, least significant first, its hash, and one byte that tells whether the
/// hash of its content follows.
fn pack(segment: &Segment) -> Vec<u8> {
    let mut packed = vec![u8::from(segment.ends_itself)];
    for member in &segment.members {
        packed.extend_from_slice(&member.bytes.to_le_bytes());
        packed.extend_from_slice(&member.padding_bytes.to_le_bytes());
        packed.extend_from_slice(&member.hash);
        packed.push(u8::from(member.content_hash.is_some()));
        packed.extend_from_slice(member.content_hash.as_ref().map_or(&[], |it| it));
    }
    packed
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

/// Rows that were read, all columns in their order.
pub(super) struct Rows<'a>(&'a StructArray);

impl<'a> Rows<'a> {
    pub(super) fn new(columns: &'a StructArray) -> Self {
        Self(columns)
    }

    /// Each of them.
    ///
    /// # Errors
    /// What no entry can be.
    pub(super) fn read(&self) -> Result<Vec<(Entry, Place)>> {
        let (path, path_bytes) = (self.texts(0)?, self.bytes(1)?);
        let entry_type = self.texts(2)?;
        let (size, data_bytes) = (
            self.required::<UInt64Type>(3)?,
            self.required::<UInt64Type>(4)?,
        );
        let mode = self.required::<UInt32Type>(5)?;
        let (uid, gid) = (
            self.required::<UInt32Type>(6)?,
            self.required::<UInt32Type>(7)?,
        );
        let (uname, gname) = (self.texts(8)?, self.texts(9)?);
        let (mtime, ctime) = (self.times(10)?, self.times(12)?);
        let (inode, device) = (
            self.numbers::<UInt64Type>(14)?,
            self.numbers::<UInt64Type>(15)?,
        );
        let (target, target_bytes) = (self.texts(16)?, self.bytes(17)?);
        let major = self.numbers::<UInt32Type>(18)?;
        let minor = self.numbers::<UInt32Type>(19)?;
        let problem = self.texts(20)?;
        let offset = self.required::<UInt64Type>(21)?;
        let bytes = self.required::<UInt64Type>(22)?;
        let members = self.bytes(23)?;
        let row = |at| {
            let kind = text(entry_type, at).unwrap_or_default();
            let source = number(inode, at).map(|inode| {
                let device = number(device, at).context("an entry has no device")?;
                let ctime = ctime.at(at)?;
                anyhow::Ok(SourceFile {
                    ctime,
                    inode,
                    device,
                })
            });
            let entry = Entry {
                path: exact(path, path_bytes, at),
                entry_type: EntryType::from_name(kind)
                    .with_context(|| format!("it has the unknown type '{kind}'"))?,
                size: size.value(at),
                data_bytes: data_bytes.value(at),
                mode: mode.value(at),
                uid: uid.value(at),
                gid: gid.value(at),
                uname: text(uname, at).unwrap_or_default().into(),
                gname: text(gname, at).unwrap_or_default().into(),
                mtime: mtime.at(at)?,
                source: source.transpose()?,
                link_target: exact(target, target_bytes, at),
                device_numbers: number(major, at).zip(number(minor, at)),
                problem: text(problem, at).map(str::to_owned),
            };
            let members = (!members.is_null(at)).then(|| unpack(members.value(at)));
            let place = Place {
                offset: offset.value(at),
                bytes: bytes.value(at),
                members: members.transpose()?,
            };
            Ok((entry, place))
        };
        (0..self.0.len()).map(row).collect()
    }

    fn column<T: 'static>(&self, at: usize) -> Result<&'a T> {
        let column = self.0.columns().get(at);
        let column = column.and_then(|it| it.as_any().downcast_ref());
        column.with_context(|| format!("column {at} has another type"))
    }

    fn texts(&self, at: usize) -> Result<&'a StringArray> {
        self.column(at)
    }

    fn bytes(&self, at: usize) -> Result<&'a BinaryArray> {
        self.column(at)
    }

    fn numbers<T: ArrowPrimitiveType>(&self, at: usize) -> Result<&'a PrimitiveArray<T>> {
        self.column(at)
    }

    fn required<T: ArrowPrimitiveType>(&self, at: usize) -> Result<&'a PrimitiveArray<T>> {
        let numbers = self.numbers(at)?;
        ensure!(numbers.null_count() == 0, "column {at} lacks a value");
        Ok(numbers)
    }

    fn times(&self, at: usize) -> Result<Times<'a>> {
        Ok(Times {
            micros: self.numbers(at)?,
            nanos: self.numbers(at + 1)?,
        })
    }
}

struct Times<'a> {
    micros: &'a PrimitiveArray<TimestampMicrosecondType>,
    nanos: &'a PrimitiveArray<UInt16Type>,
}

impl Times<'_> {
    fn at(&self, at: usize) -> Result<FileTime> {
        let micros = number(self.micros, at).zip(number(self.nanos, at));
        let time = micros.filter(|(_, nanos)| *nanos < 1000);
        let (micros, nanos) = time.context("an entry has no valid time")?;
        Ok(FileTime {
            secs: micros.div_euclid(1_000_000),
            nanos: micros.rem_euclid(1_000_000) as u32 * 1000 + u32::from(nanos),
        })
    }
}

fn number<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, at: usize) -> Option<T::Native> {
    (!column.is_null(at)).then(|| column.value(at))
}

fn text(column: &StringArray, at: usize) -> Option<&str> {
    (!column.is_null(at)).then(|| column.value(at))
}

/// The bytes of what is no text, else the text; empty where there is neither.
fn exact(texts: &StringArray, bytes: &BinaryArray, at: usize) -> Vec<u8> {
    match bytes.is_null(at) {
        false => bytes.value(at).to_owned(),
        true => text(texts, at).unwrap_or_default().into(),
    }
}
