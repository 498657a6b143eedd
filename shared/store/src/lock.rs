//! The lock of the catalog: many readers or one writer, and no writer starved by readers.
//!
//! Two flocks. A session locks `catalog.lock`; to get there it first passes the turnstile, a
//! flock on the home directory, which a waiting writer keeps, so that no new reader overtakes
//! it. Knows no DuckDB.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bk_schema::clock;
use rustix::fs::OFlags;
use thiserror::Error;

use crate::archives::open::is_absent;
use crate::flock;

const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// The catalog stayed locked until the time was over: exit status 75.
#[derive(Debug, Error)]
#[error(
    "the catalog is locked by {holder} and stayed so for {waited_secs} s; try again, or wait longer with --lock-timeout"
)]
pub struct Timeout {
    /// Who holds it, as far as is known.
    pub holder: String,
    /// How long was waited, in seconds.
    pub waited_secs: u64,
}

/// Waits that grow, with jitter so that those who wait do not march in step.
pub(crate) struct Backoff {
    began: Instant,
    timeout: Duration,
    wait: Duration,
}

impl Backoff {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            began: Instant::now(),
            timeout,
            wait: FIRST_WAIT,
        }
    }

    /// Sleeps once.
    ///
    /// # Errors
    /// [`Timeout`], when the time is over.
    pub(crate) fn sleep(&mut self, holder: impl FnOnce() -> String) -> Result<()> {
        let elapsed = self.began.elapsed();
        if elapsed >= self.timeout {
            return Err(Timeout {
                holder: holder(),
                waited_secs: elapsed.as_secs(),
            }
            .into());
        }
        let jitter = f64::from(self.began.elapsed().subsec_nanos() % 1000) / 1000.0;
        std::thread::sleep(
            self.wait
                .mul_f64(0.5 + jitter / 2.0)
                .min(self.timeout - elapsed),
        );
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        Ok(())
    }
}

/// What kind of session the lock is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A lock that is held until it is dropped.
pub(crate) struct Lock {
    file: File,
    access: Access,
}

impl Lock {
    /// Locks the catalog in `home`, which exists.
    ///
    /// # Errors
    /// [`Timeout`], and those of the file system.
    pub(crate) fn take(
        home: &Path,
        access: Access,
        program: &str,
        backoff: &mut Backoff,
    ) -> Result<Self> {
        let path = home.join("catalog.lock");
        let cannot = || format!("cannot lock '{}'", path.display());
        let mut file = open(&path, access).with_context(cannot)?;
        let turnstile = File::open(home).with_context(cannot)?;
        let try_lock = |file| match access {
            Access::Read => flock::shared(file),
            Access::Write => flock::exclusive(file),
        };
        for wanted in [&turnstile, &file] {
            while !try_lock(wanted).with_context(cannot)? {
                backoff.sleep(|| holder(&path))?;
            }
        }
        if access == Access::Write {
            note(
                &mut file,
                &format!("{} {program} {}\n", std::process::id(), clock::now()),
            )
            .with_context(cannot)?;
        }
        Ok(Self { file, access })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.access == Access::Write {
            // Only names the holder to those who wait: a note that stays is harmless.
            let _ = self.file.set_len(0);
        }
    }
}

fn open(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32);
    if access == Access::Read {
        match options.open(path) {
            // The catalog was put there alone, as a copy of it is.
            Err(error) if is_absent(&error) => {}
            opened => return opened,
        }
    }
    options.write(true).create(true).open(path)
}

/// On a full disk the note may be lost; the lock itself is held all the same.
fn note(file: &mut File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    match file.write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(error),
        _ => Ok(()),
    }
}

fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(200).read_to_string(&mut text));
    let mut words = text.split_whitespace();
    match (read, words.next(), words.next(), words.next()) {
        (Ok(_), Some(pid), Some(program), Some(since)) => {
            format!("{program} (pid {pid}, since {since})")
        }
        _ => "another program".to_owned(),
    }
}
