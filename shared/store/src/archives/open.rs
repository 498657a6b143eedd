//! The archive of a record, wherever a move has brought it.
//!
//! Opens nothing itself: who asks says how.

use std::io;
use std::path::Path;

use bk_schema::moving::Move;
use bk_schema::record::Backup;

use super::advisory_lock::is_absent;

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
