//! The spare: a file of a few megabytes in the home, given up where the disk is full, so that
//! a removal, which is to make space, can be recorded before it does.
//!
//! Best effort throughout: a home without it works as long as there is space. Called with the
//! catalog locked, but for [`put_back`]. Knows no catalog.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use crate::home::Home;
use crate::space::Space;

/// What two sessions of DuckDB take at most for a few thousand changed rows; most of it is
/// written when it closes.
const SPARE_BYTES: u64 = 4 << 20;
/// The spare is laid by where there is so much more than that.
const PLENTY: u64 = 16;

/// Lays the spare by where there is plenty of space and none yet.
pub(crate) fn lay_by(home: &Home) {
    lay_by_from(home, PLENTY * SPARE_BYTES);
}

/// Lays it by again as soon as a removal has made space, before others fill that too.
pub(crate) fn put_back(home: &Home) {
    lay_by_from(home, 2 * SPARE_BYTES);
}

fn lay_by_from(home: &Home, least_bytes: u64) {
    if home.spare().exists() || available(home).is_none_or(|bytes| bytes < least_bytes) {
        return;
    }
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(home.spare());
    // Where the file system cannot promise space, the empty file says not to try again.
    let _ = made.and_then(|file| allocate(&file));
}

/// Gives the spare up where there is less space than it takes.
pub(crate) fn give_up(home: &Home) {
    if available(home).is_some_and(|bytes| bytes < SPARE_BYTES) {
        // What cannot be removed helps nobody; the session tells what is wrong.
        let _ = std::fs::remove_file(home.spare());
    }
}

fn allocate(file: &File) -> std::io::Result<()> {
    Ok(fallocate(file, FallocateFlags::empty(), 0, SPARE_BYTES)?)
}

fn available(home: &Home) -> Option<u64> {
    Some(Space::at(&home.dir).ok()?.available_bytes)
}
