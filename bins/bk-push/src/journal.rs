//! What was done of an upload so far, in a file of the home: locked while somebody is at work on it, and read
//! by whoever goes on after a kill.
//!
//! Knows no catalog and no network, and does not judge whether what it holds can be used.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bk_offsite::sidecars::ENCRYPTED;
use bk_remote::{Lock, PartReceipt, Stored, Storing, sha256_of_parts};
use bk_store::archives::advisory_lock::is_at;
use bk_store::archives::durable::{dir_of, make_dir, sync_dir};
use bk_store::flock;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

/// Below the home.
const DIR: &str = "uploads";

/// What is uploaded, to where, in which parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// SHA-256 of the archive.
    pub(crate) archive_hash: String,
    /// The public keys that the object is encrypted to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) recipients: Vec<String>,
    /// SHA-256 of the object, which is the archive unless it is encrypted.
    pub(crate) object_hash: String,
    /// The key of the object in the location.
    pub(crate) key: String,
    /// Where the location is.
    pub(crate) url: String,
    /// Of the object.
    pub(crate) size_bytes: u64,
    pub(crate) part_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) storage_class: Option<String>,
    /// The lock that the object gets when it is complete.
    #[serde(default)]
    pub(crate) lock: Option<Lock>,
    /// What the store calls the upload.
    pub(crate) upload_id: String,
}

impl Plan {
    /// Whether it is for this archive, encrypted to the same keys.
    pub(crate) fn is_of(&self, archive_hash: &str, recipients: &[String]) -> bool {
        self.archive_hash == archive_hash && self.recipients == recipients
    }

    /// Whether the object is kept as it is to be: one that was begun with another class or lock keeps that.
    pub(crate) fn is_kept_as(&self, storing: &Storing) -> bool {
        let mode = |lock: Option<Lock>| lock.map(|lock| lock.mode);
        self.storage_class == storing.storage_class && mode(self.lock) == mode(storing.lock)
    }
}

/// A line after the plan.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// A part that the store has.
    Part(PartReceipt),
    /// The object is there, whole; in which version.
    Stored(Option<String>),
}

/// The journal of one backup and location, locked until this is dropped.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    pub(crate) plan: Option<Plan>,
    /// The parts that the store has, by their number.
    pub(crate) receipts: BTreeMap<u32, PartReceipt>,
    /// The object is there, in this version.
    stored: Option<Option<String>>,
}

impl Journal {
    /// Locks the journal of a backup and location, and reads it; `None` where another process is at work.
    ///
    /// # Errors
    /// A file that cannot be made or read.
    pub(crate) fn take(home: &Path, location: &str, id: i64) -> Result<Option<Self>> {
        let dir = home.join(DIR);
        ensure!(
            !dir.is_symlink() || dir.exists(),
            "'{}' is a link that leads nowhere: mount its disk, or remove it",
            dir.display()
        );
        make_dir(&dir).with_context(|| format!("cannot make '{}'", dir.display()))?;
        let path = dir.join(format!("{location}.{id}"));
        let cannot = || format!("cannot open '{}'", path.display());
        loop {
            let file = open(&path).with_context(cannot)?;
            if !flock::exclusive(&file).with_context(cannot)? {
                return Ok(None);
            }
            // Whoever had it may just have removed it.
            let own = file.metadata().with_context(cannot)?;
            if is_at(&path, &own).with_context(cannot)? {
                let (plan, receipts, stored) = read(&file).with_context(cannot)?;
                return Ok(Some(Self {
                    file,
                    path,
                    plan,
                    receipts,
                    stored,
                }));
            }
        }
    }

    /// The plan of an object that is there, whole, and its version: only its end was not recorded.
    pub(crate) fn stored(&self) -> Option<(Plan, Option<String>)> {
        Some((self.plan.clone()?, self.stored.clone()?))
    }

    /// What a store tells as the SHA-256 of the object, where it came in parts.
    pub(crate) fn parts_hash(&self) -> Option<String> {
        let receipts: Vec<_> = self.receipts.values().cloned().collect();
        (!receipts.is_empty()).then(|| sha256_of_parts(&receipts))
    }

    /// Where the encrypted archive is, while it is sent.
    pub(crate) fn spool_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ENCRYPTED);
        path.into()
    }

    /// Forgets all.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn clear(&mut self) -> Result<()> {
        (self.plan, self.stored) = (None, None);
        self.receipts.clear();
        self.file.set_len(0).with_context(|| self.cannot_write())
    }

    /// Begins anew.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn begin(&mut self, plan: Plan) -> Result<()> {
        self.clear()?;
        self.add_line(&plan)?;
        self.plan = Some(plan);
        sync_dir(dir_of(&self.path))
    }

    /// Adds a part that the store has.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn add(&mut self, receipt: PartReceipt) -> Result<()> {
        self.add_line(&Line::Part(receipt.clone()))?;
        self.receipts.insert(receipt.number, receipt);
        Ok(())
    }

    /// Adds that the object is there.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn complete(&mut self, stored: &Stored) -> Result<()> {
        self.add_line(&Line::Stored(stored.version.clone()))?;
        self.stored = Some(stored.version.clone());
        Ok(())
    }

    fn add_line(&mut self, line: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(line)?;
        let added = self.file.seek(SeekFrom::End(0)).and_then(|_| {
            self.file.write_all(format!("{text}\n").as_bytes())?;
            self.file.sync_data()
        });
        added.with_context(|| self.cannot_write())
    }

    fn cannot_write(&self) -> String {
        format!("cannot write '{}'", self.path.display())
    }

    /// Removes it: the catalog has the copy, or nothing is to come of it.
    pub(crate) fn remove(mut self) {
        self.plan = None;
    }
}

impl Drop for Journal {
    /// One that tells nothing is of no use to anybody.
    fn drop(&mut self) {
        if self.plan.is_none() {
            // What stays is removed by the next one, which finds what was encrypted by the journal: that goes last.
            let is_gone = match std::fs::remove_file(self.spool_path()) {
                Err(error) => error.kind() == ErrorKind::NotFound,
                Ok(()) => true,
            };
            if is_gone {
                let _ = std::fs::remove_file(&self.path);
            }
        }
    }
}

type Told = (
    Option<Plan>,
    BTreeMap<u32, PartReceipt>,
    Option<Option<String>>,
);

/// What a journal tells, as far as it is whole; what a crash tore is cut off.
fn read(mut file: &File) -> io::Result<Told> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    // What is no UTF-8 is no journal of ours.
    let text = String::from_utf8(bytes).unwrap_or_default();
    let mut lines = text.split_inclusive('\n').filter(|it| it.ends_with('\n'));
    let (mut receipts, mut stored) = (BTreeMap::new(), None);
    let first = lines.next().unwrap_or_default();
    let Ok(plan) = serde_json::from_str(first) else {
        file.set_len(0)?;
        return Ok((None, receipts, stored));
    };
    let mut whole_bytes = first.len();
    for line in lines {
        match serde_json::from_str(line) {
            Ok(Line::Part(receipt)) => drop(receipts.insert(receipt.number, receipt)),
            Ok(Line::Stored(version)) => stored = Some(version),
            Err(_) => break,
        }
        whole_bytes += line.len();
    }
    file.set_len(whole_bytes as u64)?;
    Ok((Some(plan), receipts, stored))
}

/// The backups of which there are journals for a location.
///
/// # Errors
/// Those of the file system.
pub(crate) fn ids(home: &Path, location: &str) -> Result<Vec<i64>> {
    let dir = home.join(DIR);
    let cannot = || format!("cannot read '{}'", dir.display());
    let entries = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(cannot)?,
    };
    let names = entries.map(|entry| entry.map(|it| it.file_name()));
    let names = names.collect::<io::Result<Vec<_>>>().with_context(cannot)?;
    let id = |name: &OsString| {
        let (of, id) = name.to_str()?.rsplit_once('.')?;
        id.parse().ok().filter(|_| of == location)
    };
    Ok(names.iter().filter_map(id).collect())
}

/// Removes those of a location, with what was encrypted for it; one that somebody is at work on stays.
///
/// # Errors
/// Those of the file system.
pub(crate) fn remove_all(home: &Path, location: &str) -> Result<()> {
    for id in ids(home, location)? {
        if let Some(journal) = Journal::take(home, location, id)? {
            journal.remove();
        }
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)
}
