//! Threads, as many as are to be had: a limit (`ulimit -u`, `pids.max`) may leave fewer than are
//! wanted.
//!
//! Does not know what they do.

use std::io;

/// How many run at once on this machine.
#[must_use]
pub fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Begins so many, or fewer, but at least one.
///
/// # Errors
/// Not one to be had.
pub(crate) fn begin_some<T>(
    count: usize,
    mut begin: impl FnMut() -> io::Result<T>,
) -> io::Result<()> {
    needed(begin())?;
    // Those that there are do the work of the others.
    let _ = (1..count).map_while(|_| begin().ok()).count();
    Ok(())
}

/// One without which nothing goes on.
///
/// # Errors
/// Not one to be had, in words.
pub fn needed<T>(begun: io::Result<T>) -> io::Result<T> {
    begun.map_err(|error| {
        let text = format!("cannot begin a thread: {error}: see ulimit -u and pids.max");
        io::Error::new(error.kind(), text)
    })
}
