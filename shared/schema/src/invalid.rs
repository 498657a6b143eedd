//! The one wording for a value that cannot be used: what it is, the value, what to use instead.
//!
//! Knows no flag.

use anyhow::{Error, anyhow};

/// `invalid size '5x': use a number with K, M, G, T or P`.
#[must_use]
pub fn invalid(what: &str, value: &str, accepted: &str) -> Error {
    anyhow!("invalid {what} '{}': use {accepted}", value.escape_debug())
}

/// The name of a value, out of a fixed list that has it.
pub fn name_in<T: Copy + PartialEq>(all: &[(&'static str, T)], wanted: T) -> &'static str {
    let found = all.iter().find(|(_, value)| *value == wanted);
    found.map_or("", |(name, _)| name)
}

/// The value that a name stands for, out of a fixed list.
///
/// # Errors
/// An unknown name; the message lists the known ones.
pub fn parse_choice<T: Copy>(
    all: &[(&'static str, T)],
    text: &str,
    what: &str,
) -> Result<T, Error> {
    if let Some((_, value)) = all.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    let accepted = match &names[..] {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        names => names.concat(),
    };
    Err(invalid(what, text, &accepted))
}
