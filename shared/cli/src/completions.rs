//! Completions for bash, zsh and fish, from the flag table of a program.
//!
//! A placeholder `a|b|c` offers these values; `DIR` and `FILE` offer paths, `JOB`, `BACKUP` and `LOCATION` names. Names from the catalog
//! are passed as words: no shell ever evaluates them. Knows no program.

mod bash;
mod fish;
mod words;
mod zsh;

use anyhow::Result;
use bk_schema::invalid::invalid;

use crate::flags::Program;
use crate::message::usage;

/// The completion script for a shell.
///
/// # Errors
/// [`UsageError`](crate::UsageError) for any other shell than these three.
pub(crate) fn script(program: &Program, shell: &str) -> Result<String> {
    match shell {
        "bash" => Ok(bash::script(program)),
        "zsh" => Ok(zsh::script(program)),
        "fish" => Ok(fish::script(program)),
        _ => {
            let error = invalid("shell", shell, "bash, zsh or fish");
            Err(usage(&error, "--completions"))
        }
    }
}
