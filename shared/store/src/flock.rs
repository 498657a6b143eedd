//! flock(2) on an open file, never waited for. The lock ends when the file is closed.
//!
//! Does not know what is locked, nor how long anybody waits.

use std::os::fd::AsFd;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, Result, retry_on_intr};

/// Whether the lock could be taken for this process alone; not, where another one has it.
///
/// # Errors
/// Those of flock(2), some of which a file system without locks has.
pub fn exclusive(file: impl AsFd) -> Result<bool> {
    try_lock(file.as_fd(), FlockOperation::NonBlockingLockExclusive)
}

/// As [`exclusive`], together with others that share it.
///
/// # Errors
/// As [`exclusive`].
pub fn shared(file: impl AsFd) -> Result<bool> {
    try_lock(file.as_fd(), FlockOperation::NonBlockingLockShared)
}

/// Whether no other process has the lock for itself. It is not kept: recovery would take this
/// process for the one that is at work on the file.
///
/// # Errors
/// As [`exclusive`].
pub fn is_free(file: impl AsFd) -> Result<bool> {
    let is_free = shared(&file)?;
    if is_free {
        flock(file, FlockOperation::Unlock)?;
    }
    Ok(is_free)
}

fn try_lock(file: impl AsFd, operation: FlockOperation) -> Result<bool> {
    match retry_on_intr(|| flock(&file, operation)) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        locked => locked.map(|()| true),
    }
}
