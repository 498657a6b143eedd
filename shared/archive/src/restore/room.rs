//! Limits how much restoring may write, so that it does not fill the disk.
//!
//! Knows bytes, not entries.

use std::os::fd::BorrowedFd;

use anyhow::{Result, ensure};
use rustix::fs::fstatvfs;

/// The free space is checked again after this many bytes.
const RECHECK_BYTES: u64 = 1 << 20;
/// The limit of the space that is left free, which is a hundredth of the disk.
const RESERVE_MAX_BYTES: u64 = 64 << 20;

pub(crate) struct Room<'a> {
    limit: &'a (u64, String),
    counted_bytes: u64,
    /// Bytes since the free space was checked.
    unchecked_bytes: u64,
}

impl<'a> Room<'a> {
    /// With a limit of bytes, and the error if it is exceeded.
    pub(crate) fn new(limit: &'a (u64, String)) -> Self {
        Self {
            limit,
            counted_bytes: 0,
            unchecked_bytes: RECHECK_BYTES,
        }
    }

    /// Counts bytes that are about to be written to the file system of a directory.
    ///
    /// # Errors
    /// The limit is exceeded, or the file system full.
    pub(crate) fn take(&mut self, bytes: u64, dir: BorrowedFd<'_>) -> Result<()> {
        self.count(bytes)?;
        self.unchecked_bytes = self.unchecked_bytes.saturating_add(bytes);
        if self.unchecked_bytes < RECHECK_BYTES {
            return Ok(());
        }
        self.unchecked_bytes = 0;
        let stat = fstatvfs(dir)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let total = stat.f_blocks.saturating_mul(stat.f_frsize);
        let reserve = (total / 100).min(RESERVE_MAX_BYTES);
        // A file system without blocks does not report its space.
        ensure!(
            total == 0 || free >= reserve.saturating_add(bytes),
            "it needs {bytes} bytes, but {free} are free"
        );
        Ok(())
    }

    /// Counts bytes against the limit alone.
    ///
    /// # Errors
    /// The limit is exceeded.
    pub(crate) fn count(&mut self, bytes: u64) -> Result<()> {
        self.counted_bytes = self.counted_bytes.saturating_add(bytes);
        let (limit, why) = self.limit;
        ensure!(self.counted_bytes <= *limit, "{why}");
        Ok(())
    }
}
