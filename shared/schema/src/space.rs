//! The space of a file system: what there is, and what must stay free unless the user says
//! otherwise.
//!
//! Knows no archive and no catalog.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

const GIB: u64 = 1 << 30;
/// The space of one file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total_bytes: u64,
    /// For this user: what the file system keeps for root is not counted.
    pub available_bytes: u64,
}

impl Space {
    fn new(stat: &rustix::fs::StatVfs) -> Self {
        Self {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        }
    }

    /// That of the directory, or of where it would be made.
    ///
    /// # Errors
    /// Those of statvfs(3).
    pub fn at(dir: &Path) -> Result<Self> {
        let existing = dir
            .ancestors()
            .find(|ancestor| ancestor.exists())
            .unwrap_or(dir);
        let stat = rustix::fs::statvfs(existing)
            .with_context(|| format!("cannot tell the free space of '{}'", existing.display()))?;
        Ok(Self::new(&stat))
    }

    /// That of the file system that holds an open file.
    ///
    /// # Errors
    /// Those of fstatvfs(3).
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::new(&rustix::fs::fstatvfs(file)?))
    }

    /// What is left free unless the user says otherwise.
    #[must_use]
    pub fn default_reserve(self) -> u64 {
        (self.total_bytes / 20).min(GIB)
    }
}
