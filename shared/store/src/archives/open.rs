//! The archive of a record, at either end of a move, and whether an error says that nothing is
//! there.
//!
//! Opens nothing itself: who asks says how.

use std::io::{self, ErrorKind};
use std::path::Path;

use bk_schema::moving::Move;
use bk_schema::record::Backup;

/// Opens the archive of a record: where it is on a move, at either end of that.
///
/// # Errors
/// Those of `open`.
pub fn open<T>(backup: &Backup, open: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    match (open(backup.backup_path.as_ref()), Move::of(backup)) {
        (Err(error), Some(Move::To(other) | Move::From(other))) if is_absent(&error) => {
            open(other.as_ref())
        }
        (opened, _) => opened,
    }
}

/// Whether an error says that nothing is at a place: neither the file nor, perhaps, its directory.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
