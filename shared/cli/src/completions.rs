//! Completions for bash, zsh and fish, from the flag table of a program.
//!
//! Values that a flag's placeholder lists (`a|b|c`) are offered; `DIR` and `FILE` complete
//! paths. What a catalog holds is offered as words: no shell ever evaluates it. Knows no program.

mod bash;
mod fish;
mod words;
mod zsh;

use anyhow::Result;

use crate::flags::Program;
use crate::message::UsageError;

/// The script that teaches `shell` the program's flags.
///
/// # Errors
/// [`UsageError`]: another shell than the three.
pub(crate) fn script(program: &Program, shell: &str) -> Result<String> {
    match shell {
        "bash" => Ok(bash::script(program)),
        "zsh" => Ok(zsh::script(program)),
        "fish" => Ok(fish::script(program)),
        _ => Err(UsageError(format!("no completions for '{shell}': bash, zsh or fish")).into()),
    }
}
