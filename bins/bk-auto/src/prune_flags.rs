//! The flags of bk-prune that a job has: what it keeps.
//!
//! bk-prune checks their values. Knows no backup.

use anyhow::Result;
use bk_cli::Arguments;
use bk_cli::retention::OF_JOBS;

use crate::words::{self, Given, Known};

/// Those that were given.
///
/// # Errors
/// [`bk_cli::UsageError`], which names the flag.
pub(crate) fn given(arguments: &Arguments) -> Result<Vec<Given>> {
    words::given(OF_JOBS.into_iter(), arguments, |flag, value| {
        Ok(format!("--{}={value}", flag.long))
    })
}

/// # Errors
/// What is no flag that a job can have.
pub(crate) fn check(flags: &[String]) -> Result<()> {
    let known: Vec<Known> = OF_JOBS
        .iter()
        .map(|flag| (flag.long, flag.value.is_some()))
        .collect();
    words::check(flags, &known)
}
