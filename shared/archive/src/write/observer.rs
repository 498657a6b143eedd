//! Who looks on while an archive is written.
//!
//! Knows no terminal: what is told is up to it.

use anyhow::{Result, bail};

use crate::write::problem::Problem;

/// Looks on while the archive is written; asked from the reading thread.
pub trait Observer: Sync {
    /// A place of the source has a problem.
    fn problem(&self, problem: Problem);
    /// So many more bytes of content were read.
    fn read_bytes(&self, bytes: u64);
    /// One more entry that is no directory was read.
    fn read_file(&self);
    /// The parent cannot be used further, and why: what it would have had is read.
    fn parent_lost(&self, reason: &str);
    /// Whether to give up.
    fn is_stopped(&self) -> bool;
}

pub(crate) fn check_stop(observer: &dyn Observer) -> Result<()> {
    if observer.is_stopped() {
        bail!("interrupted");
    }
    Ok(())
}
