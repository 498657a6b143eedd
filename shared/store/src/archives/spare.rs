//! The spare: a file in the home that keeps space and an inode back. A removal releases it, so
//! that it can be recorded on a full disk before it makes space there.
//!
//! It is released whatever the figures tell: they know nothing of quotas. Best effort
//! throughout: a home without it works as long as there is space. Called with the catalog
//! locked, but for [`allocate`]. Knows no catalog.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::archives::durable::make_file;
use crate::archives::space::Space;
use crate::home::Home;

/// What two sessions of DuckDB take at most for a few thousand changed rows; most of it is
/// written when it closes.
const SPARE_BYTES: u64 = 4 << 20;
/// Of a small disk the spare takes such a part.
const PART_OF_DISK: u64 = 16;
/// Less would be no help: one removal takes two pages of the log (measured with DuckDB 1.5.6).
/// When it closes, DuckDB takes what else is free, up to 1.3 MB; what it cannot write stays in
/// the log.
const LEAST_BYTES: u64 = 16 << 10;
/// The spare is allocated where so many times its size is free.
const PLENTY: u64 = 4;
/// What the removal of a record takes of the log: 140 bytes and its path, twice.
const ROW_BYTES: u64 = 2 << 10;
/// What a replaced row may take until it is committed.
const ROOM_BYTES: u64 = 64 << 10;

/// Allocates the spare where there is plenty of space.
pub(crate) fn allocate_of_plenty(home: &Home) {
    let space = space(home);
    if space.is_none_or(|it| it.available_bytes >= PLENTY * wanted_bytes(it)) {
        allocate(home);
    }
}

/// Removes the spare.
pub(crate) fn release(home: &Home) {
    // What cannot be removed helps nobody; the session tells what is wrong.
    let _ = std::fs::remove_file(home.spare());
}

/// How many records can be removed in one session.
pub(crate) fn row_count(home: &Home) -> usize {
    let rows = space(home).map_or(u64::MAX, |it| it.available_bytes / ROW_BYTES);
    usize::try_from(rows).unwrap_or(usize::MAX).max(1)
}

/// Whether the disk takes what a session writes for a row: tried, as figures know neither quotas
/// nor inodes that are to be had.
pub(crate) fn check_room(home: &Home) -> io::Result<()> {
    let probe = home.dir.join("catalog.probe");
    // Left by a process that was killed.
    let _ = std::fs::remove_file(&probe);
    let tried = make_file(&probe).and_then(|file| fill(&file, ROOM_BYTES));
    let _ = std::fs::remove_file(&probe);
    tried
}

fn space(home: &Home) -> Option<Space> {
    Space::at(&home.dir).ok().flatten()
}

fn wanted_bytes(space: Space) -> u64 {
    (space.total_bytes / PART_OF_DISK).clamp(LEAST_BYTES, SPARE_BYTES)
}

/// Allocates the spare where there is none, with at most half of what is free: as soon as a
/// removal has made space, before others fill that too.
pub(crate) fn allocate(home: &Home) {
    let bytes = space(home).map_or(LEAST_BYTES, |it| {
        wanted_bytes(it).min(it.available_bytes / 2)
    });
    if bytes < LEAST_BYTES || home.spare().symlink_metadata().is_ok() {
        return;
    }
    let made = make_file(&home.spare()).and_then(|file| fill(&file, bytes));
    if made.is_err() {
        // What has no space is of no use; its inode may be.
        let _ = OpenOptions::new()
            .write(true)
            .open(home.spare())
            .and_then(|file| file.set_len(0));
    }
}

/// Where the file system cannot promise space, a little is written.
fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            file.write_all(&[0; LEAST_BYTES as usize])?;
            file.sync_all()
        }
        allocated => Ok(allocated?),
    }
}
