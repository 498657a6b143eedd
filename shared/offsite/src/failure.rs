//! What a failure of a location means for the archives that come after.
//!
//! Knows no location.

use anyhow::Error;
use bk_cli::Progress;
use bk_remote::Kind;

/// What kind of failure of a location it is; `None` for any other.
#[must_use]
pub fn kind(error: &Error) -> Option<Kind> {
    let found = error.downcast_ref::<bk_remote::Error>();
    found.map(bk_remote::Error::kind)
}

/// Whether every other archive would fail for the same reason.
#[must_use]
pub fn is_final(error: &Error) -> bool {
    // What is not there is the whole location: a bucket, a directory that is not mounted.
    use Kind::{NotFound, Refused, Unreachable, Unsupported};
    matches!(
        kind(error),
        Some(NotFound | Refused | Unreachable | Unsupported)
    )
}

/// Tells how many were not tried, as they would have failed for the same reason.
pub fn tell_left(progress: &Progress, count: usize, what: [&str; 2], done: &str, location: &str) {
    if count > 0 {
        let what = what[usize::from(count != 1)];
        progress.warn(&format!(
            "{count} more {what} not {done} '{location}': mend that, and run it again"
        ));
    }
}
