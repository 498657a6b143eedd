//! Messages on stderr, and the exit status for an error.
//!
//! Knows no flag and no record.

use std::io::{self, Write};

use bk_schema::visible::visible;
use bk_store::lock;
use thiserror::Error;

/// Everything was done.
pub const SUCCESS: u8 = 0;
/// Some records failed, the rest were done.
pub const SOME_FAILED: u8 = 1;
/// Usage or bad input; nothing done.
pub const USAGE: u8 = 2;
/// The catalog stayed locked (EX_TEMPFAIL of sysexits.h).
pub const LOCKED: u8 = 75;

/// A mistake on the command line: exit status 2.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Prints one line on stderr, after the name of the program.
pub fn warn(program: &str, text: &str) {
    // There is no other place to report a closed stderr.
    let _ = writeln!(io::stderr(), "{program}: {}", one_line(text));
}

/// The text on one line, control characters escaped, without the ` (os error N)` that Rust adds.
pub fn one_line(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (os error ") {
        plain.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    visible(plain.trim_end())
}

/// Turns an error about `what`, such as `--flag`, into a [`UsageError`].
#[must_use]
pub fn usage(error: &anyhow::Error, what: &str) -> anyhow::Error {
    UsageError(format!("{what}: {error:#}")).into()
}

/// The exit status that an error means.
#[must_use]
pub fn status_of(error: &anyhow::Error) -> u8 {
    if error.is::<UsageError>() {
        USAGE
    } else if error.is::<lock::Timeout>() {
        LOCKED
    } else {
        SOME_FAILED
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_keeps_its_status_under_context() {
        let timeout = lock::Timeout {
            holder: "bk-ls".into(),
            waited_secs: 1,
        };
        let error = anyhow::Error::from(timeout).context("cannot list");
        assert_eq!(status_of(&error), LOCKED);
        assert_eq!(status_of(&anyhow::anyhow!("other")), SOME_FAILED);
    }

    #[test]
    fn an_error_is_one_line_without_the_numbers_of_the_system() {
        assert_eq!(
            one_line("cannot open 'a\nb': No such file (os error 2)"),
            "cannot open 'a\\nb': No such file"
        );
        assert_eq!(one_line("x (os error 1) y (os error 2"), "x y");
    }
}
