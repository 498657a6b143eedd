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
use crate::flock;
use crate::home::Home;
use crate::manifest::table::{COLUMNS, ROW_GROUP_ROWS, connect, dir, path, quoted, sha256};

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
    /// Begins a manifest in a home. `format` tells how the archive is made.
    ///
    /// # Errors
    /// Those of the file system and of DuckDB.
    pub fn begin(home: &Home, format: &str) -> Result<Self> {
        let dir = dir(home);
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
        Ok(Self {
            connection,
            partial,
            format: format.to_owned(),
            waiting: Vec::new(),
            waiting_entries: 0,
        })
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
    /// A full disk, and others of the file system.
    pub fn finish(mut self) -> Result<Finished> {
        self.append()?;
        let partial = self.partial;
        let place = partial.place.display();
        let sql = format!(
            "COPY entries TO {} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS},
                 USE_TMP_FILE false, KV_METADATA {{archive_format: {}}})",
            quoted(&place.to_string()),
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

/// One byte that tells whether the segment ends itself; then each member as its length in four bytes,
/// least significant first, its hash, and one byte that tells whether the hash of its content follows.
fn pack(segment: &Segment) -> Vec<u8> {
    let mut packed = vec![u8::from(segment.ends_itself)];
    for member in &segment.members {
        packed.extend_from_slice(&member.bytes.to_le_bytes());
        packed.extend_from_slice(&member.hash);
        packed.push(u8::from(member.content_hash.is_some()));
        packed.extend_from_slice(member.content_hash.as_ref().map_or(&[], |it| it));
    }
    packed
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bk_schema::manifest::{Entry, EntryType, FileTime, Member, Segment, SourceFile};

    use super::*;
    use crate::manifest::reader::Reader;

    fn home(dir: &Path) -> Home {
        Home::new(dir.to_owned(), "test", bk_schema::clock::now(), |_, _| {})
    }

    fn entry(number: u64) -> Entry {
        Entry {
            path: format!("srv/app/dir{}/some_file_name_{number}.txt", number / 100).into_bytes(),
            entry_type: EntryType::File,
            size: number * 7919 % 100_000,
            data_bytes: number * 7919 % 100_000,
            mode: 0o644,
            uid: 1000,
            gid: 1000,
            uname: b"user".to_vec(),
            gname: b"user".to_vec(),
            mtime: FileTime {
                secs: 1_700_000_000 + number as i64,
                nanos: (number * 123_457 % 1_000_000_000) as u32,
            },
            link_target: Vec::new(),
            device_numbers: None,
            source: Some(SourceFile {
                ctime: FileTime {
                    secs: 1_700_000_000 + number as i64,
                    nanos: (number * 123_457 % 1_000_000_000) as u32,
                },
                inode: number,
                device: 64768,
            }),
            problem: None,
        }
    }

    #[test]
    #[ignore]
    fn speed() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let rss = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            status
                .lines()
                .filter(|it| it.starts_with("VmHWM"))
                .collect::<String>()
        };
        let begin = std::time::Instant::now();
        let mut writer = Writer::begin(&home, "test").unwrap();
        eprintln!("begun {:?} {}", begin.elapsed(), rss());
        for number in 0..20_000 {
            let entries = (0..50).map(|it| entry(number * 50 + it)).collect();
            writer
                .add(Segment {
                    offset: number * 60_000,
                    members: vec![Member {
                        bytes: 60_000,
                        hash: [number as u8; 32],
                        content_hash: None,
                    }],
                    ends_itself: true,
                    entries,
                })
                .unwrap();
        }
        eprintln!("added {:?} {}", begin.elapsed(), rss());
        let finished = writer.finish().unwrap();
        eprintln!("finished {:?} {}", begin.elapsed(), rss());
        let hash = finished.hash.clone();
        finished.commit(&home, "abc").unwrap();
        let begin = std::time::Instant::now();
        let mut reader = Reader::open(&home, "abc", Some(&hash)).unwrap().unwrap();
        let mut count = 0;
        while let Some(segment) = reader.next_segment().unwrap() {
            assert_eq!(segment.entries.len(), 50);
            assert_eq!(segment.entries[7], entry(count * 50 + 7));
            count += 1;
        }
        assert_eq!(count, 20_000);
        eprintln!(
            "read {:?} {} {}",
            begin.elapsed(),
            rss(),
            std::fs::metadata(path(&home, "abc")).unwrap().len()
        );
    }
}
