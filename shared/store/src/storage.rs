//! The directories that hold archives, and whether each is there: its marker `.bk-storage` tells
//! the id that the catalog keeps beside its path. What cannot be reached is not gone: where the
//! marker is absent or another's, as on the mount point of a disk that is not mounted, no file
//! of it is missing.
//!
//! Knows no record and no SQL: what the catalog keeps, each session tells anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, Metadata, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Error, Result, bail};
use rustix::fs::{AtFlags, CWD, OFlags, linkat};
use serde::{Deserialize, Serialize};

use crate::archives::durable::{dir_of, make_file, make_storage, privately, rename_new, sync_dir};
use crate::archives::open::is_absent;

/// The file that tells which storage a directory is.
pub const MARKER: &str = ".bk-storage";
/// A marker is one short line.
pub const MARKER_MAX_BYTES: u64 = 4096;

/// What is in the marker. Keys only grow.
#[derive(Debug, Serialize, Deserialize)]
pub struct Marker {
    /// Of what it marks: no other has it.
    pub id: String,
}

/// Why it cannot be told whether a file is there. It is not gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unreachable {
    /// The storage that holds it is not there.
    #[error(
        "the storage '{dir}' is not there: {reason}; its backups are offline and left alone: mount it; where its marker alone is lost, or a new disk takes its place, begin it anew with bk-create --init-storage; only where they are gone for good, give them up with bk-rm --offline"
    )]
    Storage {
        /// The directory.
        dir: PathBuf,
        /// What there is instead.
        reason: String,
    },
    /// The file system fails, or forbids it.
    #[error("cannot look at '{path}': {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

/// A directory that may be written to, with the id that its marker tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// As the catalog spells it.
    pub dir: String,
    /// What the marker tells.
    pub id: String,
}

/// Tells people something, in the name of a program: the program's name, then the text.
pub type Warn = fn(&str, &str);

/// What is known of the storages, shared by all that looks at archives in this process.
#[derive(Debug, Clone)]
pub struct Storages {
    program: &'static str,
    warn: Warn,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// As the catalog has them: the ids by their directories.
    ids: BTreeMap<PathBuf, String>,
    /// What was found since then.
    found: HashMap<PathBuf, Option<Unreachable>>,
    /// What was told already.
    told: BTreeSet<String>,
    /// Whether this process writes: then it tells where others may write too.
    writes: bool,
}

impl Storages {
    /// For a program, before it has opened the catalog.
    #[must_use]
    pub fn new(program: &'static str, warn: Warn) -> Self {
        Self {
            program,
            warn,
            known: Arc::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the catalog says now; what was found before counts no more.
    pub(crate) fn set(&self, all: impl IntoIterator<Item = Storage>) {
        let mut known = self.known();
        known.ids = all.into_iter().map(|it| (it.dir.into(), it.id)).collect();
        known.found.clear();
    }

    pub(crate) fn is_known(&self, dir: &Path) -> bool {
        self.known().ids.contains_key(dir)
    }

    pub(crate) fn add(&self, storage: &Storage) {
        let mut known = self.known();
        known.found.remove(Path::new(&storage.dir));
        known
            .ids
            .insert(PathBuf::from(&storage.dir), storage.id.clone());
    }

    /// From here on this process writes.
    pub(crate) fn set_writes(&self) {
        self.known().writes = true;
    }

    /// Tells people something on stderr, once.
    pub fn tell(&self, text: &str) {
        if self.known().told.insert(text.to_owned()) {
            (self.warn)(self.program, text);
        }
    }

    /// Tells why something cannot be reached: of a storage once, however many archives it has.
    pub fn tell_unreachable(&self, unreachable: &Unreachable) {
        match unreachable {
            Unreachable::Storage { .. } => self.tell(&unreachable.to_string()),
            Unreachable::File { .. } => self.tell(&format!("warning: {unreachable}")),
        }
    }

    fn tell_exposed(&self, dir: &Path, exposed: Option<String>) {
        if let Some(exposed) = exposed {
            let dir = dir.display();
            self.tell(&format!("warning: the storage '{dir}' {exposed}"));
        }
    }

    /// Whether the storage that holds the file is there, or none that is known. One look for all
    /// files of a storage.
    ///
    /// # Errors
    /// [`Unreachable::Storage`].
    pub fn check(&self, file: &Path) -> Result<(), Unreachable> {
        let dir = dir_of(file);
        let mut known = self.known();
        if let Some(found) = known.found.get(dir) {
            return found.clone().map_or(Ok(()), Err);
        }
        let found = known.ids.get(dir).and_then(|id| away(dir, id));
        known.found.insert(dir.to_owned(), found.clone());
        let exposed = known.writes.then(|| exposed(dir)).flatten();
        drop(known);
        self.tell_exposed(dir, exposed);
        found.map_or(Ok(()), Err)
    }

    /// As [`Storages::check`], with a new look: after a file was found absent, as the storage may
    /// just have gone.
    ///
    /// # Errors
    /// As [`Storages::check`].
    pub fn check_again(&self, file: &Path) -> Result<(), Unreachable> {
        let is_away = matches!(self.known().found.get(dir_of(file)), Some(Some(_)));
        if !is_away {
            self.known().found.remove(dir_of(file));
        }
        self.check(file)
    }

    /// The file at this place; `None` where it is gone, as of the first look at its storage: who
    /// acts on that looks again.
    ///
    /// # Errors
    /// [`Unreachable`], where that cannot be told.
    pub fn stat(&self, path: &Path) -> Result<Option<Metadata>, Unreachable> {
        self.check(path)?;
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(Unreachable::File {
                path: path.to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    /// Makes a directory ready for archives: makes it where it may, and leaves the marker.
    /// `archives` are those that the catalog has in it, `anew` begins it anew whatever it was.
    /// `None` where the catalog has it so already, the marker is another user's, or none can be
    /// left, which is told.
    ///
    /// # Errors
    /// A storage that is not there, with the remedy; those of the file system.
    pub fn enter<'a>(
        &self,
        dir: &Path,
        archives: impl IntoIterator<Item = &'a str>,
        anew: bool,
    ) -> Result<Option<Storage>> {
        match anew {
            false => self.check_before(dir, archives)?,
            true => self.tell_lost(dir, archives),
        }
        let known = self.known().ids.get(dir).cloned();
        make_storage(dir)?;
        self.tell_exposed(dir, exposed(dir));
        let cannot = || format!("cannot mark the storage '{}'", dir.display());
        let id = match read(dir) {
            Ok(Some(id)) => id,
            Ok(None) if anew => leave(dir, false).with_context(cannot)?,
            // The next session that writes tries it again; the backup is worth more.
            Ok(None) => match leave(dir, false) {
                Ok(id) => id,
                Err(error) => {
                    self.tell(&format!("warning: {}: {error}", cannot()));
                    return Ok(None);
                }
            },
            Err(_) if anew => leave(dir, true).with_context(cannot)?,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(error).with_context(cannot),
        };
        let dir = dir.to_string_lossy().into_owned();
        Ok((known.as_deref() != Some(id.as_str())).then_some(Storage { dir, id }))
    }

    /// What was there before and is not, from here on counts as missing.
    fn tell_lost<'a>(&self, dir: &Path, archives: impl IntoIterator<Item = &'a str>) {
        let is_lost = |path: &&str| !Path::new(path).exists();
        let lost = archives.into_iter().filter(is_lost).count();
        if lost > 0 {
            self.tell(&format!(
                "warning: the storage '{}' is begun anew without {lost} of its archives, which count as missing from now on: 'bk-ls --missing' lists them, bk-rm gives them up; if its disk is only away, mount it and begin it anew there once more",
                dir.display()
            ));
        }
    }

    /// Before the directory itself is made: on a mount point, that would be the wrong one.
    /// `archives` are those that the catalog has in it.
    ///
    /// # Errors
    /// A storage that is not there, with the remedy.
    pub fn check_before<'a>(
        &self,
        dir: &Path,
        archives: impl IntoIterator<Item = &'a str>,
    ) -> Result<()> {
        let refuse = |reason: &str| -> Result<()> {
            bail!(
                "cannot write to the storage '{}': it is not there: {reason}; mount it; only where its disk or its marker is gone for good, begin it anew with bk-create --init-storage",
                dir.display()
            )
        };
        let known = self.known().ids.get(dir).cloned();
        if let Some(id) = known {
            return match away(dir, &id) {
                Some(Unreachable::Storage { reason, .. }) => refuse(&reason),
                _ => Ok(()),
            };
        }
        // In use since before there were markers.
        let mut archives = archives.into_iter().peekable();
        let is_old = archives.peek().is_some() && matches!(read(dir), Ok(None));
        if is_old && !archives.any(|path| Path::new(path).exists()) {
            return refuse(&format!("it has no '{MARKER}' and none of its archives"));
        }
        Ok(())
    }
}

/// Leaves the marker in a directory that holds an archive of a record, where bk may write there;
/// `None` where it may not.
pub(crate) fn mark(dir: &str) -> Option<Storage> {
    let id = match read(Path::new(dir)) {
        Ok(Some(id)) => id,
        Ok(None) => leave(Path::new(dir), false).ok()?,
        Err(_) => return None,
    };
    let dir = dir.to_owned();
    Some(Storage { dir, id })
}

/// What is there instead of the storage, if it is not.
fn away(dir: &Path, id: &str) -> Option<Unreachable> {
    let reason = match read(dir) {
        Ok(Some(other)) if other == id => return None,
        Ok(Some(_)) => format!("its '{MARKER}' is that of another storage"),
        Ok(None) if dir.exists() => format!("it has no '{MARKER}'"),
        Ok(None) => "there is no such directory".to_owned(),
        // It is there, but another user's, who may let the archives be read all the same.
        Err(error)
            if error.kind() == ErrorKind::PermissionDenied
                && dir.join(MARKER).symlink_metadata().is_ok() =>
        {
            return None;
        }
        Err(error) => format!("cannot read its '{MARKER}': {error}"),
    };
    Some(Unreachable::Storage {
        dir: dir.to_owned(),
        reason,
    })
}

/// The id that the marker of a directory tells; `None` where it has none.
fn read(dir: &Path) -> io::Result<Option<String>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(dir.join(MARKER));
    let file = match opened {
        Err(error) if is_absent(&error) => return Ok(None),
        opened => opened?,
    };
    let mut text = String::new();
    file.take(MARKER_MAX_BYTES).read_to_string(&mut text)?;
    let marker: Marker = serde_json::from_str(&text)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is no marker of bk"))?;
    Ok(Some(marker.id))
}

/// Leaves a new marker, to last. Where another process is faster, its marker counts.
fn leave(dir: &Path, replaces: bool) -> io::Result<String> {
    let id = new_id();
    let marker = dir.join(MARKER);
    let made = privately(|| {
        // A name of its own would stay where the process is killed; not every place can do without.
        let named = write_nameless(dir, &id).and_then(|file| match replaces {
            true => Err(ErrorKind::Unsupported.into()),
            false => give_name(&file, &marker),
        });
        match named {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                write_and_rename(dir, &id, replaces)
            }
            named => named,
        }
    });
    match (made, read(dir)) {
        (Err(error), Ok(Some(id))) if error.kind() == ErrorKind::AlreadyExists => return Ok(id),
        (made, _) => made?,
    }
    sync_dir(dir).map_err(|error| io::Error::other(format!("{error:#}")))?;
    Ok(id)
}

/// A file without a name, where the file system has such.
fn write_nameless(dir: &Path, id: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .mode(0o600)
        .custom_flags(OFlags::TMPFILE.bits() as i32);
    write(options.open(dir)?, id)
}

fn give_name(file: &File, name: &Path) -> io::Result<()> {
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, from, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
}

fn write_and_rename(dir: &Path, id: &str, replaces: bool) -> io::Result<()> {
    // No number of a process: in containers these come again, and what a killed one left is there.
    let fresh = dir.join(format!("{MARKER}.{id}.new"));
    let written = make_file(&fresh).and_then(|file| write(file, id));
    let made = written.and_then(|_| match replaces {
        true => std::fs::rename(&fresh, dir.join(MARKER)),
        false => rename_new(&fresh, &dir.join(MARKER)),
    });
    made.inspect_err(|_| {
        // A part of a marker is to nobody's use.
        let _ = std::fs::remove_file(&fresh);
    })
}

fn write(mut file: File, id: &str) -> io::Result<File> {
    let marker = serde_json::to_string(&Marker { id: id.to_owned() })?;
    file.write_all(format!("{marker}\n").as_bytes())?;
    file.sync_all()?;
    Ok(file)
}

/// An id that nothing else has. Random: the keys of a hasher come from the system.
#[must_use]
pub fn new_id() -> String {
    let word = |half| RandomState::new().hash_one((half, std::process::id()));
    format!("{:016x}{:016x}", word(0), word(1))
}

/// In what way a directory is open to others who may change what is in it; `None` where it is
/// not, and where it cannot be looked at.
pub fn exposed(dir: &Path) -> Option<String> {
    let metadata = dir.metadata().ok()?;
    let own = rustix::process::geteuid();
    if own.is_root() && metadata.uid() != 0 {
        return Some(format!(
            "belongs to the user {}, who may change what root relies on: give it to root with chown",
            metadata.uid()
        ));
    }
    let is_sticky = metadata.mode() & 0o1000 != 0;
    let writers = match metadata.mode() & 0o022 {
        _ if is_sticky => return None,
        0 => return None,
        0o020 => "its group",
        _ => "others",
    };
    Some(format!(
        "may be written to by {writers} (mode {:o}): chmod go-w closes it",
        metadata.mode() & 0o7777
    ))
}

/// Whether an error says that something cannot be reached.
pub fn unreachable(error: &Error) -> Option<&Unreachable> {
    error.downcast_ref()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_again_and_ids_differ() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        let id = leave(dir.path(), false).unwrap();
        assert_eq!(read(dir.path()).unwrap().as_deref(), Some(id.as_str()));
        // The first one counts.
        assert_eq!(leave(dir.path(), false).unwrap(), id);
        assert_ne!(leave(dir.path(), true).unwrap(), id);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_ne!(new_id(), new_id());
    }

    #[test]
    fn what_is_no_marker_is_told() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{}", "x", "{\"id\":7}"] {
            std::fs::write(dir.path().join(MARKER), text).unwrap();
            let error = read(dir.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{text}");
            assert!(away(dir.path(), "x").is_some());
        }
    }
}
