//! The space of a file system: what there is, and what must stay free unless the user says
//! otherwise. Some file systems tell no figures (ramfs, FUSE without statfs): nothing says that
//! these are full.
//!
//! Knows no archive and no catalog.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::StatVfs;
use rustix::io::Errno;

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
    fn new(stat: rustix::io::Result<StatVfs>) -> io::Result<Option<Self>> {
        let stat = match stat {
            Err(Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(None),
            told => told?,
        };
        let total_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
        Ok((total_bytes > 0).then(|| Self {
            total_bytes,
            available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        }))
    }

    /// That of the directory, or of where it would be made; `None` where the file system tells
    /// no figures.
    pub fn at(dir: &Path) -> Result<Option<Self>> {
        let existing = dir
            .ancestors()
            .find(|ancestor| ancestor.exists())
            .unwrap_or(dir);
        Self::new(rustix::fs::statvfs(existing))
            .with_context(|| format!("cannot tell the free space of '{}'", existing.display()))
    }

    /// That of the file system that holds an open file or directory; `None` where it tells no
    /// figures.
    ///
    /// # Errors
    /// Those of fstatvfs(3).
    pub fn of(file: impl AsFd) -> io::Result<Option<Self>> {
        Self::new(rustix::fs::fstatvfs(file))
    }

    /// What is left free unless the user says otherwise.
    pub fn default_reserve(self) -> u64 {
        (self.total_bytes / 20).min(GIB)
    }
}
