//! Reads a manifest, some thousands of rows at a time, in a thread of its own.
//!
//! Believes nothing of it: what does not fit together is an error. Knows no record.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;

use anyhow::{Context, Result, ensure};
use bk_schema::manifest::{Entry, Segment};
use duckdb::Connection;

use crate::engine::connect;
use crate::home::Home;
use crate::manifest::columns::{Place, Rows};
use crate::manifest::table::{
    self, COLUMNS, FROM_ARCHIVE, VERSION, is_possible, path, quoted, sha256,
};

/// The segments of a manifest, in the order of the archive.
pub struct Reader {
    format: Option<String>,
    /// What a thread reads that is a little ahead.
    batches: Receiver<Batch>,
    batch: std::vec::IntoIter<Segment>,
    is_ended: bool,
}

impl Reader {
    /// Opens the manifest of an archive; `None` where there is none. With a `hash` it is read only if
    /// it is exactly that file, and one that was made anew from the archive counts as none.
    ///
    /// # Errors
    /// A manifest that is no such file, or another one.
    pub fn open(home: &Home, archive_hash: &str, hash: Option<&str>) -> Result<Option<Self>> {
        let place = path(home, archive_hash);
        let cannot = || format!("cannot read '{}'", place.display());
        let Some(file) = table::open(&place).with_context(cannot)? else {
            return Ok(None);
        };
        if !is_possible(home) {
            return Ok(None);
        }
        let is_other = match hash {
            Some(hash) => sha256(&file).with_context(cannot)? != hash,
            None => false,
        };
        if is_other {
            let format = format_of(&connect(&home.dir)?, &place);
            let is_anew = format.is_ok_and(|it| it.as_deref() == Some(FROM_ARCHIVE));
            ensure!(is_anew, "{}: it is not as it was written", cannot());
            return Ok(None);
        }
        Self::of(home, &place).with_context(cannot).map(Some)
    }

    fn of(home: &Home, place: &Path) -> Result<Self> {
        let connection = connect(&home.dir)?;
        let format = format_of(&connection, place)?;
        let sql = select(place);
        let (sender, batches) = sync_channel(1);
        let read = move || {
            if let Err(error) = read_all(&connection, &sql, &sender) {
                // It fails where nobody wants more.
                let _ = sender.send(Err(error));
            }
        };
        Builder::new()
            .spawn(read)
            .context("cannot start a thread")?;
        Ok(Self {
            format,
            batches,
            batch: Vec::new().into_iter(),
            is_ended: false,
        })
    }

    /// How the archive was made.
    pub fn format(&self) -> Option<&str> {
        self.format.as_deref()
    }

    /// The next segment.
    ///
    /// # Errors
    /// Rows that cannot be read, or do not fit together.
    pub fn next_segment(&mut self) -> Result<Option<Segment>> {
        loop {
            if let Some(segment) = self.batch.next() {
                return Ok(Some(segment));
            }
            if self.is_ended {
                return Ok(None);
            }
            // A thread that ended without its last word is no end of the manifest.
            let batch = self
                .batches
                .recv()
                .context("the thread that reads it failed")??;
            self.is_ended = batch.is_none();
            self.batch = batch.unwrap_or_default().into_iter();
        }
    }
}

/// The next segments; `None` at the end.
type Batch = Result<Option<Vec<Segment>>>;

/// Sends the segments until nobody wants more.
fn read_all(connection: &Connection, sql: &str, batches: &SyncSender<Batch>) -> Result<()> {
    let mut statement = connection.prepare(sql)?;
    // Its iterator would panic where something cannot be read.
    drop(statement.stream_arrow([])?);
    let mut joined = Joined::default();
    while let Some(columns) = statement.step()? {
        for (entry, place) in Rows::new(&columns).read()? {
            joined.push(entry, place)?;
        }
        if batches
            .send(Ok(Some(std::mem::take(&mut joined.ready))))
            .is_err()
        {
            return Ok(());
        }
    }
    joined.close();
    // They fail where nobody wants more.
    let _ = batches.send(Ok(Some(joined.ready)));
    let _ = batches.send(Ok(None));
    Ok(())
}

/// Rows that become segments.
#[derive(Default)]
struct Joined {
    /// Those that are complete.
    ready: Vec<Segment>,
    /// The one whose rows are not all read.
    last: Option<Segment>,
    last_bytes: u64,
    /// Where the next one may begin.
    end: u64,
}

impl Joined {
    fn push(&mut self, entry: Entry, place: Place) -> Result<()> {
        if let Some((ends_itself, members)) = place.members {
            self.close();
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
}

/// How the archive of a manifest was made.
///
/// # Errors
/// A file that is no manifest of this version.
pub(super) fn format_of(connection: &Connection, place: &Path) -> Result<Option<String>> {
    let place = quoted(&place.display().to_string());
    let told = |key: &str| {
        let sql = format!(
            "SELECT max(decode(value)) FROM parquet_kv_metadata({place}) WHERE decode(key) = ?"
        );
        connection.query_row(&sql, [key], |row| row.get::<_, Option<String>>(0))
    };
    let is_ours = told("manifest_version")?.as_deref() == Some(VERSION);
    ensure!(is_ours, "it is of another version of bk");
    Ok(told("archive_format")?)
}

/// Reads all columns of a manifest, as they are documented.
pub(super) fn select(place: &Path) -> String {
    let columns = COLUMNS.iter().map(|(name, kind)| format!("{name}::{kind}"));
    let columns: Vec<_> = columns.collect();
    format!("SELECT {} FROM {}", columns.join(", "), file(place))
}

/// A manifest, as a table.
pub(super) fn file(place: &Path) -> String {
    let place = quoted(&place.display().to_string());
    // A directory above it that is named KEY=VALUE is no column.
    format!("read_parquet({place}, hive_partitioning = false)")
}
