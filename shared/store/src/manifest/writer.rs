//! Writes a manifest: rows as the archive grows, the file once the archive is complete.
//!
//! Rows beyond a bound wait in a temporary file of DuckDB, so that memory stays the same for any number
//! of entries. Knows no record.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use bk_schema::manifest::{Entry, FileTime, Segment};
use duckdb::types::{TimeUnit, ToSqlOutput, ValueRef};
use duckdb::{Connection, ToSql, params};
use rustix::fs::OFlags;

use crate::archives::advisory_lock::is_at;
use crate::archives::durable::{make_dir, privately, sync_dir};
use crate::archives::space::Space;
use crate::flock;
use crate::home::Home;
use crate::manifest::table::{
    COLUMNS, ROW_GROUP_ROWS, VERSION, connect, dir, is_possible, path, quoted, sha256,
};

/// So much space is left to the catalog, which matters more; of a small disk a sixteenth.
const SPARE_BYTES: u64 = 4 << 20;
/// So many entries are handed to DuckDB at once.
const BATCH_ENTRIES: usize = 8192;

/// The extensions of what is being written, and of the directory of rows that wait.
pub(super) const PARTIAL: &str = "partial";
pub(super) const SPILL: &str = "spill";

/// A manifest that is being written. One that is dropped before it is committed is removed.
pub struct Writer {
    connection: Connection,
    /// Locked as long as this lives, so that others know that somebody is at work.
    partial: Partial,
    format: String,
    waiting: Vec<Segment>,
    waiting_entries: usize,
}

/// A manifest that is complete but for its name.
pub struct Finished {
    partial: Partial,
    /// The SHA-256 of the file in lower-case hex.
    pub hash: String,
}

impl Writer {
    /// Begins a manifest in a home; `None` where the path of the home allows of none. `format` tells how
    /// the archive is made.
    ///
    /// # Errors
    /// Those of the file system and of DuckDB.
    pub fn begin(home: &Home, format: &str) -> Result<Option<Self>> {
        let dir = dir(home);
        if !is_possible(&dir) {
            return Ok(None);
        }
        let cannot = || format!("cannot make '{}'", dir.display());
        privately(|| make_dir(&dir)).with_context(cannot)?;
        let partial = Partial::make(&dir)?;
        let spill = partial.place.with_extension(SPILL);
        let connection = connect(&dir, &spill.to_string_lossy())?;
        let columns: Vec<_> = COLUMNS
            .iter()
            .map(|(name, kind)| format!("{name} {kind}"))
            .collect();
        connection.execute_batch(&format!("CREATE TABLE entries ({})", columns.join(", ")))?;
        Ok(Some(Self {
            connection,
            partial,
            format: format.to_owned(),
            waiting: Vec::new(),
            waiting_entries: 0,
        }))
    }

    /// Adds the next segment of the archive.
    ///
    /// # Errors
    /// A disk without room for rows that wait; a time that no timestamp can hold.
    pub fn add(&mut self, segment: Segment) -> Result<()> {
        self.waiting_entries += segment.entries.len();
        self.waiting.push(segment);
        if self.waiting_entries >= BATCH_ENTRIES {
            self.append()?;
        }
        Ok(())
    }

    fn append(&mut self) -> Result<()> {
        let mut appender = self.connection.appender("entries")?;
        for segment in self.waiting.drain(..) {
            let bytes = segment.bytes();
            let mut members = Some(pack(&segment));
            for entry in &segment.entries {
                // They stand once, in the row of the first entry.
                append_row(&mut appender, entry, segment.offset, bytes, members.take())?;
            }
        }
        self.waiting_entries = 0;
        Ok(appender.flush()?)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// A full disk, or one that will be, and others of the file system.
    pub fn finish(mut self) -> Result<Finished> {
        let space = self.partial.place.parent().map(Space::at);
        if let Some(space) = space.transpose()?.flatten() {
            let spare_bytes = SPARE_BYTES.min(space.total_bytes / 16);
            let is_plenty = space.available_bytes >= spare_bytes;
            ensure!(
                is_plenty,
                "what little space there is is left to the catalog"
            );
        }
        self.append()?;
        let partial = self.partial;
        let place = partial.place.display();
        let sql = format!(
            "COPY entries TO {} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS},
                 USE_TMP_FILE false, KV_METADATA {{manifest_version: {}, archive_format: {}}})",
            quoted(&place.to_string()),
            quoted(VERSION),
            quoted(&self.format)
        );
        let cannot = || format!("cannot write '{place}'");
        self.connection.execute_batch(&sql).with_context(cannot)?;
        drop(self.connection);
        ensure!(
            is_at(&partial.place, &partial.file.metadata()?)?,
            "{}: another file is in its place",
            cannot()
        );
        partial.file.sync_all().with_context(cannot)?;
        let hash = sha256(&partial.file).with_context(cannot)?;
        Ok(Finished { partial, hash })
    }
}

impl Finished {
    /// Gives the manifest its name. It lasts from here on.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn commit(mut self, home: &Home, archive_hash: &str) -> Result<()> {
        let path = path(home, archive_hash);
        let cannot = || format!("cannot write '{}'", path.display());
        std::fs::rename(&self.partial.place, &path).with_context(cannot)?;
        self.partial.is_committed = true;
        sync_dir(&dir(home))
    }
}

/// A file without a name of its own yet.
struct Partial {
    file: File,
    place: PathBuf,
    is_committed: bool,
}

impl Partial {
    fn make(dir: &Path) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let place = dir.join(format!("{}-{number}.{PARTIAL}", std::process::id()));
        let cannot = || format!("cannot make '{}'", place.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        options.custom_flags(OFlags::NOFOLLOW.bits() as i32);
        let file = privately(|| options.open(&place)).with_context(cannot)?;
        // One that is there was left by a dead process that had our number.
        if !flock::exclusive(&file).with_context(cannot)? {
            bail!("{}: another program is at work on it", cannot());
        }
        Ok(Self {
            file,
            place,
            is_committed: false,
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_committed {
            // What stays, the next writer sweeps away.
            let _ = std::fs::remove_file(&self.place);
        }
    }
}

/// Text as it is, for people; and its bytes where it is no UTF-8.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn is_text(&self) -> bool {
        std::str::from_utf8(self.0).is_ok()
    }

    fn bytes(&self) -> Option<&[u8]> {
        (!self.is_text()).then_some(self.0)
    }
}

impl ToSql for Text<'_> {
    fn to_sql(&self) -> duckdb::Result<ToSqlOutput<'_>> {
        Ok(match String::from_utf8_lossy(self.0) {
            std::borrow::Cow::Borrowed(text) => {
                ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))
            }
            std::borrow::Cow::Owned(text) => ToSqlOutput::from(text),
        })
    }
}

/// Whole microseconds, and the nanoseconds after them.
struct Micros(i64);

impl ToSql for Micros {
    fn to_sql(&self) -> duckdb::Result<ToSqlOutput<'_>> {
        let value = ValueRef::Timestamp(TimeUnit::Microsecond, self.0);
        Ok(ToSqlOutput::Borrowed(value))
    }
}

fn micros(time: FileTime) -> Result<(Micros, u16)> {
    let micros = time.secs.checked_mul(1_000_000);
    let micros = micros.and_then(|it| it.checked_add(i64::from(time.nanos / 1000)));
    // The ends are DuckDB's infinities, and beyond its dates.
    let micros = micros.filter(|it| it.unsigned_abs() < 1 << 62);
    let micros = micros.context("a time is too far from now for a manifest")?;
    Ok((Micros(micros), (time.nanos % 1000) as u16))
}

fn append_row(
    appender: &mut duckdb::Appender<'_>,
    entry: &Entry,
    segment_offset: u64,
    segment_bytes: u64,
    members: Option<Vec<u8>>,
) -> Result<()> {
    let (path, target) = (Text(&entry.path), Text(&entry.link_target));
    let (mtime, mtime_nanos) = micros(entry.mtime)?;
    let ctime = entry.source.map(|it| micros(it.ctime)).transpose()?;
    let (ctime, ctime_nanos) = ctime.unzip();
    let (major, minor) = entry.device_numbers.unzip();
    let link_target = (!entry.link_target.is_empty()).then_some(&target);
    appender.append_row(params![
        path,
        path.bytes(),
        entry.entry_type.name(),
        entry.size,
        entry.data_bytes,
        entry.mode,
        entry.uid,
        entry.gid,
        Text(&entry.uname),
        Text(&entry.gname),
        mtime,
        mtime_nanos,
        ctime,
        ctime_nanos,
        entry.source.map(|it| it.inode),
        entry.source.map(|it| it.device),
        link_target,
        target.bytes(),
        major,
        minor,
        entry.problem,
        segment_offset,
        segment_bytes,
        members,
    ])?;
    Ok(())
}

/// One byte that tells whether the segment ends itself; then each member as its length and that of its
/// padding in four bytes each, least significant first, its hash, and one byte that tells whether the hash of its content follows.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bk_schema::manifest::{EntryType, Member, SourceFile};

    use super::*;
    use crate::manifest::reader::Reader;

    /// The ends of what can be, and names that are no text.
    fn entry(number: u64) -> Entry {
        let time = FileTime {
            secs: number as i64 * 7919 - 1_000_000,
            nanos: (number * 123_457_789 % 1_000_000_000) as u32,
        };
        let types = [
            EntryType::File,
            EntryType::HardLink,
            EntryType::Symlink,
            EntryType::CharDevice,
        ];
        let entry_type = types[number as usize % 4];
        let is_link = matches!(entry_type, EntryType::HardLink | EntryType::Symlink);
        let is_device = entry_type == EntryType::CharDevice;
        let odd: &[u8] = if number.is_multiple_of(3) {
            b"\xff'"
        } else {
            b"x"
        };
        Entry {
            path: [format!("dir/{number}").as_bytes(), odd].concat(),
            entry_type,
            size: u64::MAX - number,
            data_bytes: number,
            mode: 0o4644,
            uid: u32::MAX - 1,
            gid: number as u32,
            uname: b"user".to_vec(),
            gname: Vec::new(),
            mtime: time,
            link_target: if is_link { odd.to_vec() } else { Vec::new() },
            device_numbers: is_device.then_some((1, number as u32)),
            source: (!number.is_multiple_of(5)).then_some(SourceFile {
                ctime: time,
                inode: u64::MAX,
                device: number,
            }),
            problem: number.is_multiple_of(7).then(|| "unreadable".to_owned()),
        }
    }

    /// More rows than are read at once, segments across that border among them.
    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(
            dir.path().to_owned(),
            "test",
            bk_schema::clock::now(),
            |_, _| {},
        );
        let segment = |number: u64| Segment {
            offset: number * 1000,
            members: (0..=number % 3)
                .map(|at| Member {
                    bytes: 100,
                    padding_bytes: at as u32 * 7,
                    hash: [number as u8; 32],
                    content_hash: (at == 1).then_some([7; 32]),
                })
                .collect(),
            entries: (0..50).map(|at| entry(number * 50 + at)).collect(),
            ends_itself: number.is_multiple_of(2),
        };
        let mut writer = Writer::begin(&home, "some 'format'").unwrap().unwrap();
        for number in 0..700 {
            writer.add(segment(number)).unwrap();
        }
        let finished = writer.finish().unwrap();
        let hash = finished.hash.clone();
        finished.commit(&home, "a").unwrap();
        let mut reader = Reader::open(&home, "a", Some(&hash)).unwrap().unwrap();
        assert_eq!(reader.format(), Some("some 'format'"));
        for number in 0..700 {
            assert_eq!(reader.next_segment().unwrap(), Some(segment(number)));
        }
        assert_eq!(reader.next_segment().unwrap(), None);
        assert!(Reader::open(&home, "a", Some("another")).is_err());
        assert!(Reader::open(&home, "b", None).unwrap().is_none());
    }

    #[test]
    fn segments_that_overlap_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(
            dir.path().to_owned(),
            "test",
            bk_schema::clock::now(),
            |_, _| {},
        );
        let mut writer = Writer::begin(&home, "").unwrap().unwrap();
        for offset in [1000, 1050] {
            let members = vec![Member {
                bytes: 100,
                padding_bytes: 0,
                hash: [0; 32],
                content_hash: None,
            }];
            let entries = vec![entry(offset)];
            writer
                .add(Segment {
                    offset,
                    members,
                    entries,
                    ends_itself: true,
                })
                .unwrap();
        }
        writer.finish().unwrap().commit(&home, "a").unwrap();
        let mut reader = Reader::open(&home, "a", None).unwrap().unwrap();
        let error = reader.next_segment().unwrap_err().to_string();
        assert_eq!(error, "its segments do not fit together");
    }
}
