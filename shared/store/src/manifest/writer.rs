//! Writes a manifest while its archive grows.
//!
//! In a thread of its own, for which the archive waits only where it is too fast: memory stays the same for
//! any number of entries. A manifest is a cache, so what fails is told at the end. Knows no record.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bk_schema::manifest::{Entry, Segment};
use bk_schema::record::Backup;
use rustix::fs::OFlags;

use crate::archives::advisory_lock::is_at;
use crate::archives::durable::{make_dir, privately, rename_new, sync_dir};
use crate::engine::connect;
use crate::flock;
use crate::home::Home;
use crate::manifest::reader::format_of;
use crate::manifest::search::{check_home, is_usable};
use crate::manifest::table::{
    FROM_ARCHIVE, ROW_GROUP_ROWS, VERSION, dir, is_possible, path, quoted, sha256,
};
use crate::manifest::{columns, stream};

/// Segments are handed over when they take about so much memory.
const BATCH_BYTES: usize = 1 << 20;

/// The extension of what is being written.
pub(super) const PARTIAL: &str = "partial";

/// A manifest that is being written. One that is dropped before it is committed is removed.
pub struct Writer {
    /// Those that are to be handed over.
    waiting: Vec<Segment>,
    waiting_bytes: usize,
    /// None once nobody takes them.
    batches: Option<SyncSender<Vec<Segment>>>,
    writing: Option<Writing>,
}

type Writing = std::io::Result<JoinHandle<Result<Option<Finished>>>>;

/// A manifest that is complete but for its name.
pub struct Finished {
    partial: Partial,
    /// The SHA-256 of the file in lower-case hex.
    pub hash: String,
}

impl Writer {
    /// Begins a manifest in a home. `format` tells how the archive is made.
    #[must_use]
    pub fn begin(home: &Home, format: &str) -> Self {
        let (batches, queue) = sync_channel(1);
        let (home, format) = (home.clone(), format.to_owned());
        let writing = Builder::new().spawn(move || write(&home, &format, queue));
        Self {
            waiting: Vec::new(),
            waiting_bytes: 0,
            batches: Some(batches),
            writing: Some(writing),
        }
    }

    /// Adds the next segment of the archive.
    pub fn add(&mut self, segment: Segment) {
        self.waiting_bytes += memory_bytes(&segment);
        self.waiting.push(segment);
        if self.waiting_bytes >= BATCH_BYTES {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let batch = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        // Nobody takes it where the writing has failed.
        self.batches.take_if(|it| it.send(batch).is_err());
    }

    /// Completes the file; `None` where the path of the home allows of none.
    ///
    /// # Errors
    /// Whatever failed since it was begun: a full disk or one that will be, others of the file system
    /// and of DuckDB, a time that no timestamp can hold.
    pub fn finish(mut self) -> Result<Option<Finished>> {
        self.end()
    }

    fn end(&mut self) -> Result<Option<Finished>> {
        self.hand_over();
        self.batches = None;
        let Some(writing) = self.writing.take() else {
            return Ok(None);
        };
        let ended = writing.context("cannot start a thread")?.join();
        ended.unwrap_or_else(|_| Err(anyhow!("its thread failed")))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Else the file would stay if the process ends now.
        let _ = self.end();
    }
}

fn memory_bytes(segment: &Segment) -> usize {
    let text_bytes = |it: &Entry| it.path.len() + it.link_target.len();
    let entries = segment.entries.iter();
    let entries = entries.map(|it| size_of::<Entry>() + text_bytes(it));
    entries.sum::<usize>() + size_of_val(&segment.members[..])
}

fn write(home: &Home, format: &str, batches: Receiver<Vec<Segment>>) -> Result<Option<Finished>> {
    let dir = dir(home);
    if !is_possible(home) {
        return Ok(None);
    }
    let cannot = || format!("cannot make '{}'", dir.display());
    privately(|| make_dir(&dir)).with_context(cannot)?;
    let partial = Partial::make(&dir)?;
    let place = partial.place.display();
    let sql = format!(
        "COPY (SELECT {} FROM {}) TO {} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS},
             USE_TMP_FILE false, KV_METADATA {{manifest_version: {}, archive_format: {}}})",
        columns::typed(),
        stream::TABLE,
        quoted(&place.to_string()),
        quoted(VERSION),
        quoted(format)
    );
    let cannot = || format!("cannot write '{place}'");
    let connection = connect(&home.dir)?;
    stream::run(&connection, &sql, dir.clone(), batches).with_context(cannot)?;
    drop(connection);
    ensure!(
        is_at(&partial.place, &partial.file.metadata()?)?,
        "{}: another file is in its place",
        cannot()
    );
    partial.file.sync_all().with_context(cannot)?;
    let hash = sha256(&partial.file).with_context(cannot)?;
    Ok(Some(Finished { partial, hash }))
}

/// Makes the manifest of a completed backup anew, where there is none that can be used. `read` gives all
/// entries of the archive, and the hash of what it read. Such a manifest tells what the archive holds, and
/// not which bytes hold it: it makes no parent.
///
/// # Errors
/// Those of `read`, another archive than that of the record, and whatever keeps the manifest from
/// being written.
pub fn make_anew(
    home: &Home,
    backup: &Backup,
    read: impl FnOnce(&mut dyn FnMut(Segment)) -> Result<String>,
) -> Result<()> {
    let mut writer = Writer::begin(home, FROM_ARCHIVE);
    let hash = read(&mut |segment| writer.add(segment))?;
    ensure!(
        backup.backup_hash.as_ref() == Some(&hash),
        "'{}' is not as it was written",
        backup.backup_path
    );
    let Some(finished) = writer.finish()? else {
        return Ok(());
    };
    finished.commit_anew(home, backup, &hash)
}

/// Keeps the manifest of an archive that was brought from elsewhere, which `fill` writes. With a `hash` it is kept
/// only if it is exactly that file.
///
/// # Errors
/// Those of `fill` and of the file system; what is no manifest of this version, or another one.
pub fn keep(
    home: &Home,
    archive_hash: &str,
    hash: Option<&str>,
    fill: impl FnOnce(&mut File) -> Result<()>,
) -> Result<()> {
    check_home(home)?;
    let dir = dir(home);
    let cannot = || format!("cannot make '{}'", dir.display());
    privately(|| make_dir(&dir)).with_context(cannot)?;
    let mut partial = Partial::make(&dir)?;
    let place = partial.place.clone();
    let cannot = || format!("cannot write '{}'", place.display());
    // It may be another's that was left.
    partial.file.set_len(0).with_context(cannot)?;
    fill(&mut partial.file)?;
    partial.file.sync_all().with_context(cannot)?;
    let found = sha256(&partial.file).with_context(cannot)?;
    ensure!(
        hash.is_none_or(|it| it == found),
        "it is not as it was written"
    );
    format_of(&connect(&home.dir)?, &place)?;
    let finished = Finished {
        partial,
        hash: found,
    };
    finished.commit(home, archive_hash)
}

impl Finished {
    /// Gives the manifest its name. It lasts from here on.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn commit(self, home: &Home, archive_hash: &str) -> Result<()> {
        self.name(home, archive_hash, |from, to| std::fs::rename(from, to))
    }

    /// The same, unless one came meanwhile that is of use: it is worth more.
    fn commit_anew(self, home: &Home, backup: &Backup, archive_hash: &str) -> Result<()> {
        let manifest_hash = backup.backup_metadata.get("manifest_hash");
        let manifest_hash = manifest_hash.and_then(|it| it.as_str());
        self.name(home, archive_hash, |from, to| match rename_new(from, to) {
            Err(error)
                if error.kind() == ErrorKind::AlreadyExists
                    && !is_usable(home, archive_hash, manifest_hash) =>
            {
                std::fs::rename(from, to)
            }
            renamed => renamed,
        })
    }

    fn name(
        mut self,
        home: &Home,
        archive_hash: &str,
        rename: impl FnOnce(&Path, &Path) -> std::io::Result<()>,
    ) -> Result<()> {
        let path = path(home, archive_hash);
        let cannot = || format!("cannot write '{}'", path.display());
        match rename(&self.partial.place, &path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            renamed => renamed.with_context(cannot)?,
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bk_schema::manifest::{EntryType, FileTime, Member, SourceFile};

    use super::*;
    use crate::manifest::reader::Reader;

    fn home(dir: &tempfile::TempDir) -> Home {
        let now = bk_schema::clock::now();
        Home::new(dir.path().to_owned(), "test", now, |_, _| {})
    }

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
        let home = home(&dir);
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
        let mut writer = Writer::begin(&home, "some 'format'");
        for number in 0..700 {
            writer.add(segment(number));
        }
        let finished = writer.finish().unwrap().unwrap();
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
    fn one_made_anew_takes_no_place_and_is_no_parent() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let line = r#"{"id":1,"backup_name":"b","backup_type":"manual","status":"completed","source_version":null,
            "backup_path":"/b","backup_size":1,"file_count":1,"compression_type":"gzip","backup_hash":"a",
            "description":null,"backup_metadata":{},"protected":false,"created_at":"2026-01-01T00:00:00Z","expires_at":null}"#;
        let mut backup: Backup = serde_json::from_str(line).unwrap();
        let unplaced = |number| Segment {
            entries: vec![entry(number)],
            ..Segment::default()
        };
        let read = |hash: &'static str| {
            move |add: &mut dyn FnMut(Segment)| {
                (0..3).for_each(|number| add(unplaced(number)));
                Ok(hash.to_owned())
            }
        };
        let error = make_anew(&home, &backup, read("another")).unwrap_err();
        assert_eq!(error.to_string(), "'/b' is not as it was written");
        assert!(Reader::open(&home, "a", None).unwrap().is_none());
        assert_eq!(std::fs::read_dir(super::dir(&home)).unwrap().count(), 0);

        make_anew(&home, &backup, read("a")).unwrap();
        assert!(
            Reader::open(&home, "a", Some("parent's"))
                .unwrap()
                .is_none()
        );
        let mut reader = Reader::open(&home, "a", None).unwrap().unwrap();
        assert_eq!(reader.format(), Some(FROM_ARCHIVE));
        for number in 0..3 {
            assert_eq!(reader.next_segment().unwrap(), Some(unplaced(number)));
        }
        assert_eq!(reader.next_segment().unwrap(), None);

        let mut writer = Writer::begin(&home, "");
        writer.add(unplaced(7));
        let finished = writer.finish().unwrap().unwrap();
        let hash = finished.hash.clone().into();
        finished.commit(&home, "a").unwrap();
        backup.backup_metadata.insert("manifest_hash".into(), hash);
        make_anew(&home, &backup, read("a")).unwrap();
        let mut reader = Reader::open(&home, "a", None).unwrap().unwrap();
        assert_eq!(reader.next_segment().unwrap(), Some(unplaced(7)));
    }

    #[test]
    fn segments_that_overlap_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let mut writer = Writer::begin(&home, "");
        for offset in [1000, 1050] {
            let members = vec![Member {
                bytes: 100,
                padding_bytes: 0,
                hash: [0; 32],
                content_hash: None,
            }];
            let entries = vec![entry(offset)];
            writer.add(Segment {
                offset,
                members,
                entries,
                ends_itself: true,
            });
        }
        writer
            .finish()
            .unwrap()
            .unwrap()
            .commit(&home, "a")
            .unwrap();
        let mut reader = Reader::open(&home, "a", None).unwrap().unwrap();
        let error = reader.next_segment().unwrap_err().to_string();
        assert_eq!(error, "its segments do not fit together");
    }
}
