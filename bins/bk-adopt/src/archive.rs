//! Reads one archive for its record: the birth facts, the number of entries, the hash, in one
//! pass.
//!
//! Writes nothing, and knows no catalog.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bk_archive::format::codec::Codec;
use bk_archive::format::entry::{Entry, Kind};
use bk_archive::hashed::Whole;
use bk_archive::read::inflate::Inflate;
use bk_archive::read::last::Names;
use bk_archive::read::reader::Reader;
use bk_archive::threads;
use bk_cli::one_line;
use bk_schema::birth::Birth;
use bk_schema::metadata;
use bk_schema::record::{Backup, BackupType, Status};
use bk_store::Signals;
use bk_store::home::Home;
use bk_store::manifest::FROM_ARCHIVE;
use bk_store::manifest::writer::Writer;
use jiff::Timestamp;
use serde_json::Map;

use crate::find::{self, Candidate};
use crate::flags::PROGRAM;
use crate::names::name_for;

/// How much is read between two checks for a signal.
const READ_BYTES: usize = 1 << 20;

/// An archive that was read to its end.
#[derive(Debug)]
pub(crate) struct Archive {
    /// The record, without an id; the name may be taken.
    pub(crate) record: Backup,
    /// What is unusual in an archive of another program.
    pub(crate) notes: Vec<String>,
    /// Whether bk made it: then the name and the time are original.
    pub(crate) is_own: bool,
}

#[derive(Default)]
struct Counts {
    entries: u64,
    files: u64,
    content_bytes: u64,
}

/// Reads an archive, and writes its manifest into the home, if there is to be one.
///
/// # Errors
/// What is not an archive, changes meanwhile, or is locked by another program; a damaged archive,
/// unless those are wanted; a signal.
pub(crate) fn read(
    home: Option<&Home>,
    found: &Candidate,
    wants_damaged: bool,
    signals: &Signals,
) -> Result<Archive> {
    let path = Path::new(&found.path);
    let file = find::open(path)?;
    let before = file.metadata()?;
    let (codec, jobs) = (Codec::of(&file), threads::available());
    let mut reader = Reader::new(Inflate::new(file, jobs)?);
    let mut counts = Counts::default();
    let mut names = Names::default();
    let mut manifest = home.map(|home| Writer::begin(home, FROM_ARCHIVE));
    let mut record_entry = |entry: &Entry| {
        if let Some(writer) = &mut manifest {
            writer.add(entry.to_segment());
        }
    };
    let damage = count(
        &mut reader,
        &mut names,
        &mut counts,
        &mut record_entry,
        signals,
    )
    .err();
    ensure!(signals.caught().is_none(), "interrupted");
    let mut notes = reader.notes().texts();
    notes.extend(names.superseded().note());
    let comment = reader.comment().map(<[u8]>::to_vec);
    let whole = reader.into_input().whole();
    let whole = whole.context("it cannot be read to its end")?;

    let after = path.symlink_metadata()?;
    let state =
        |it: &std::fs::Metadata| (it.dev(), it.ino(), it.len(), it.mtime(), it.mtime_nsec());
    ensure!(
        state(&before) == state(&after) && whole.bytes == after.len(),
        "it changed while it was read"
    );
    if let Some(error) = &damage {
        ensure!(
            counts.entries > 0 || comment.is_some(),
            "it is not an archive: {error:#}"
        );
        if !wants_damaged {
            bail!("it is damaged: {error:#}; --damaged adopts it all the same");
        }
    }
    let birth = comment.and_then(|comment| Birth::from_comment(&comment).ok());
    let is_own = birth.is_some();
    let birth = match birth {
        Some(birth) => birth,
        None => birth_of(path, &before)?,
    };
    // Of others, not all entries count.
    let manifest = manifest.filter(|_| damage.is_none() && notes.is_empty());
    let finished = match (home, manifest) {
        (Some(home), Some(writer)) => commit(writer, home, &whole.hash),
        _ => Ok(None),
    };
    let mut record = record(birth, &found.path, codec, whole, counts.files)?;
    let metadata = &mut record.backup_metadata;
    match finished {
        Ok(hash) => metadata.extend(hash.map(|it| ("manifest_hash".into(), it.into()))),
        Err(error) => {
            let path = &found.path;
            PROGRAM.warn(&format!("warning: '{path}' has no manifest: {error:#}"));
        }
    }
    metadata.insert("content_bytes".into(), counts.content_bytes.into());
    if let Some(error) = damage {
        metadata.insert("damaged".into(), one_line(&format!("{error:#}")).into());
    }
    if !notes.is_empty() {
        metadata.insert("archive_notes".into(), notes.clone().into());
    }
    Ok(Archive {
        record,
        notes,
        is_own,
    })
}

fn commit(writer: Writer, home: &Home, archive_hash: &str) -> Result<Option<String>> {
    let Some(finished) = writer.finish()? else {
        return Ok(None);
    };
    let hash = finished.hash.clone();
    finished.commit(home, archive_hash)?;
    Ok(Some(hash))
}

/// Counts as bk-create does. A signal ends it early.
fn count(
    reader: &mut Reader<Inflate>,
    names: &mut Names,
    counts: &mut Counts,
    record_entry: &mut dyn FnMut(&Entry),
    signals: &Signals,
) -> Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    while let Some(entry) = reader.next_entry()? {
        names.add(&entry);
        record_entry(&entry);
        counts.entries += 1;
        counts.files += u64::from(entry.kind != Kind::Directory);
        counts.content_bytes = counts.content_bytes.saturating_add(entry.data_bytes());
        let mut content = reader.content();
        while signals.caught().is_none() && content.read(&mut buffer)? > 0 {}
        ensure!(signals.caught().is_none(), "interrupted");
    }
    Ok(())
}

/// What stands for the birth facts in an archive of another program.
fn birth_of(path: &Path, metadata: &std::fs::Metadata) -> Result<Birth> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let nanos = i32::try_from(metadata.mtime_nsec())?;
    let modified_at = Timestamp::new(metadata.mtime(), nanos);
    Ok(Birth {
        backup_name: name_for(&name),
        backup_type: BackupType::Manual,
        source_version: None,
        description: None,
        backup_metadata: Map::new(),
        protected: false,
        created_at: modified_at.context("its time of modification is out of range")?,
        expires_at: None,
        program: String::new(),
    })
}

fn record(birth: Birth, path: &str, codec: Codec, whole: Whole, file_count: u64) -> Result<Backup> {
    Ok(Backup {
        id: 0,
        backup_name: birth.backup_name,
        backup_type: birth.backup_type,
        status: Status::Completed,
        source_version: birth.source_version,
        backup_path: path.to_owned(),
        backup_size: Some(whole.bytes),
        file_count: Some(file_count),
        compression_type: codec.name().into(),
        backup_hash: Some(whole.hash),
        description: birth.description,
        backup_metadata: metadata::trusted(birth.backup_metadata),
        protected: birth.protected,
        created_at: as_stored(birth.created_at)?,
        expires_at: birth.expires_at.map(as_stored).transpose()?,
        copies: Vec::new(),
    })
}

/// Rounded to microseconds, as the catalog stores it.
fn as_stored(time: Timestamp) -> Result<Timestamp> {
    let stored = Timestamp::from_microsecond(time.as_microsecond()).ok();
    stored.with_context(|| format!("its time {time} is out of range"))
}
