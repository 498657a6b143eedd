//! What dead processes left: told from what living ones are doing by the flock on their file.
//!
//! Decides and tidies one archive's place; knows no SQL. A few opens and unlinks, which is why
//! it may run inside a session.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::record::Backup;

/// Where an archive is while it is written.
#[must_use]
pub fn partial_path(archive: &Path) -> PathBuf {
    let mut name = archive.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// The state of one place.
enum Place {
    Empty,
    Locked,
    Abandoned,
    /// It cannot be told, so it is left alone.
    Unknown,
}

/// Why the creation of `backup` counts as dead, its partial archive removed; `None` while its
/// writer lives.
pub(crate) fn dead_creation(backup: &Backup) -> Option<String> {
    let archive = Path::new(&backup.backup_path);
    let partial = partial_path(archive);
    match (look(&partial), look(archive)) {
        (Place::Locked | Place::Unknown, _) | (_, Place::Locked | Place::Unknown) => None,
        (Place::Abandoned, _) => match std::fs::remove_file(&partial) {
            Ok(()) => Some("interrupted: its partial archive was removed".to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => Some("interrupted".to_owned()),
            Err(error) => Some(format!(
                "interrupted: its partial archive '{}' cannot be removed: {error}",
                partial.display()
            )),
        },
        (Place::Empty, Place::Abandoned) => {
            Some("interrupted before it was recorded: the archive is whole".to_owned())
        }
        // The partial is made and locked before anybody else gets the catalog.
        (Place::Empty, Place::Empty) => Some("interrupted before it began".to_owned()),
    }
}

fn look(path: &Path) -> Place {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Place::Empty;
        }
        Err(_) => return Place::Unknown,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Place::Abandoned,
        Err(rustix::io::Errno::WOULDBLOCK) => Place::Locked,
        Err(_) => Place::Unknown,
    }
}
