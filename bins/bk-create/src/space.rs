//! Free space: what there is, what must stay, and a writer that waits for it.
//!
//! Knows no archive: bytes go through to the file below.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bk_schema::units::human_size;

use crate::flags::OnLowSpace;
use crate::watch::Watch;

const GIB: u64 = 1 << 30;
/// How often a pause looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The space of one file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) total_bytes: u64,
    /// For this user: what the file system keeps for root is not counted.
    pub(crate) available_bytes: u64,
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
    pub(crate) fn at(dir: &Path) -> Result<Self> {
        let existing = dir
            .ancestors()
            .find(|ancestor| ancestor.exists())
            .unwrap_or(dir);
        let stat = rustix::fs::statvfs(existing)
            .with_context(|| format!("cannot tell the free space of '{}'", existing.display()))?;
        Ok(Self::new(&stat))
    }

    /// What is left free unless the user says otherwise.
    pub(crate) fn default_reserve(self) -> u64 {
        (self.total_bytes / 20).min(GIB)
    }
}

/// Writes to a file as long as the reserve stays free; else it pauses, or fails.
pub(crate) struct Guard<'a> {
    pub(crate) file: &'a File,
    pub(crate) dir: &'a Path,
    pub(crate) reserve_bytes: u64,
    pub(crate) on_low_space: OnLowSpace,
    pub(crate) timeout: Duration,
    pub(crate) watch: &'a Watch,
}

impl Guard<'_> {
    fn available(&self) -> io::Result<u64> {
        Ok(Space::new(&rustix::fs::fstatvfs(self.file)?).available_bytes)
    }

    fn wait_for(&self, bytes: u64) -> io::Result<()> {
        let needed = self.reserve_bytes.saturating_add(bytes);
        let available = self.available()?;
        if available >= needed {
            return Ok(());
        }
        let figures = |available| {
            format!(
                "'{}' has {} free, and {} are to stay so",
                self.dir.display(),
                human_size(available),
                human_size(self.reserve_bytes)
            )
        };
        if self.on_low_space == OnLowSpace::Fail {
            return Err(io::Error::other(figures(available)));
        }
        self.watch.warn(&format!(
            "paused: {}; make space, or stop this with Ctrl-C",
            figures(available)
        ));
        let began = Instant::now();
        loop {
            if self.watch.signals.caught().is_some() {
                return Err(io::Error::other("interrupted"));
            }
            let available = self.available()?;
            if available >= needed {
                self.watch.warn("there is space again: going on");
                return Ok(());
            }
            if began.elapsed() >= self.timeout {
                let waited_secs = self.timeout.as_secs();
                let text = format!("{}, after {waited_secs} s of waiting", figures(available));
                return Err(io::Error::other(text));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Write for Guard<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait_for(bytes.len() as u64)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
