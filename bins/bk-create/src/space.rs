//! A writer that keeps the reserve free: it waits for free space, or fails.
//!
//! Knows no archive: bytes go through to the file below.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use bk_cli::units::human_size;
use bk_store::archives::space::Space;

use crate::flags::OnLowSpace;
use crate::watch::Watch;

/// How often a pause checks the free space.
const CHECK_EVERY: Duration = Duration::from_millis(100);

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
    /// A file system that reports no figures is full when a write fails.
    fn available(&self) -> io::Result<u64> {
        Ok(Space::of(self.file)?.map_or(u64::MAX, |space| space.available_bytes))
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
            std::thread::sleep(CHECK_EVERY);
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
