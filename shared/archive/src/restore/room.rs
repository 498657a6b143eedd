//! How much a restoration may write: what is too much is refused before it fills the disk.
//!
//! Knows no entry, but how many bytes it takes.

use std::os::fd::BorrowedFd;

use anyhow::{Result, ensure};
use rustix::fs::fstatvfs;

/// After so much was written, the free space is looked at again.
const LOOK_AGAIN_BYTES: u64 = 1 << 20;
/// What is left free on a full disk: a hundredth, at most this.
const RESERVE_MAX_BYTES: u64 = 64 << 20;

pub(crate) struct Room<'a> {
    limit: &'a (u64, String),
    counted_bytes: u64,
    /// Since the free space was looked at.
    unlooked_bytes: u64,
}

impl<'a> Room<'a> {
    /// Of so many bytes, and why not of more.
    pub(crate) fn new(limit: &'a (u64, String)) -> Self {
        Self {
            limit,
            counted_bytes: 0,
            unlooked_bytes: LOOK_AGAIN_BYTES,
        }
    }

    /// Counts what is about to be written into the file system of a directory.
    ///
    /// # Errors
    /// Too much for the limit or for the file system.
    pub(crate) fn take(&mut self, bytes: u64, dir: BorrowedFd<'_>) -> Result<()> {
        self.count(bytes)?;
        self.unlooked_bytes = self.unlooked_bytes.saturating_add(bytes);
        if self.unlooked_bytes < LOOK_AGAIN_BYTES {
            return Ok(());
        }
        self.unlooked_bytes = 0;
        let stat = fstatvfs(dir)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let total = stat.f_blocks.saturating_mul(stat.f_frsize);
        let reserve = (total / 100).min(RESERVE_MAX_BYTES);
        // One that has no blocks at all tells no figures.
        ensure!(
            total == 0 || free >= reserve.saturating_add(bytes),
            "it needs {bytes} bytes, but {free} are free"
        );
        Ok(())
    }

    /// # Errors
    /// Too much for the limit.
    pub(crate) fn count(&mut self, bytes: u64) -> Result<()> {
        self.counted_bytes = self.counted_bytes.saturating_add(bytes);
        let (limit, why) = self.limit;
        ensure!(self.counted_bytes <= *limit, "{why}");
        Ok(())
    }
}
