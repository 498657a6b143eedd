//! The backups that a program is to work on: its operands, or the lines on stdin.
//!
//! Knows no catalog.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use anyhow::{Result, bail, ensure};
use bk_schema::lines::{self, Identity, Line};

use crate::flags::Arguments;
use crate::message::{UsageError, usage};

/// The backups to work on, each with its line of input. Without operands, and for `-` alone, they
/// are on stdin, which is read and checked to its end.
///
/// # Errors
/// [`UsageError`]: a malformed operand or line, `-` beside other operands, stdin is a terminal.
pub fn read(arguments: &Arguments) -> Result<Vec<Line>> {
    resolve(&arguments.operands)
}

/// As [`read`], but without operands `None`, for the whole catalog.
///
/// # Errors
/// As [`read`].
pub fn read_or_all(arguments: &Arguments) -> Result<Option<Vec<Line>>> {
    let is_given = !arguments.operands.is_empty();
    is_given.then(|| read(arguments)).transpose()
}

/// The backups to work on, and the last operand, which is a directory.
///
/// # Errors
/// As [`read`], and no operand at all.
pub fn read_before_last(arguments: &Arguments) -> Result<(Vec<Line>, &OsString)> {
    let Some((last, operands)) = arguments.operands.split_last() else {
        bail!(UsageError(
            "no directory given: it is the last operand".into()
        ));
    };
    Ok((resolve(operands)?, last))
}

/// Operands alone, of which none is `-`.
///
/// # Errors
/// [`UsageError`]: a malformed one.
pub fn parse_all(operands: &[OsString]) -> Result<Vec<Line>> {
    operands.iter().map(parse).collect()
}

/// As [`read`], for operands that are not all that there are.
///
/// # Errors
/// As [`read`].
pub fn resolve(operands: &[OsString]) -> Result<Vec<Line>> {
    if operands.is_empty() || operands == ["-"] {
        return from_stdin();
    }
    parse_all(operands)
}

fn parse(operand: &OsString) -> Result<Line> {
    if operand == "-" {
        bail!(UsageError(
            "'-' must be the only operand: it reads standard input".into()
        ));
    }
    let text = operand
        .to_str()
        .ok_or_else(|| UsageError(format!("'{}' is not UTF-8", operand.display())))?;
    Ok(Line {
        identity: Identity::from_operand(text).map_err(|e| UsageError(format!("{e:#}")))?,
        object: serde_json::Map::new(),
    })
}

/// The backups on stdin, which is read and checked to its end.
///
/// # Errors
/// [`UsageError`]: a malformed line, stdin is a terminal.
pub fn from_stdin() -> Result<Vec<Line>> {
    let text =
        "nothing to do: give ids or names, which 'bk-ls' lists, or pipe records in, one per line";
    ensure!(!io::stdin().is_terminal(), UsageError(text.into()));
    lines::read_identities(io::stdin().lock()).map_err(|e| usage(&e, "bad input"))
}

/// Refuses to read `what` from a terminal.
///
/// # Errors
/// [`UsageError`] if stdin is a terminal.
pub fn check_no_terminal(what: &str) -> Result<()> {
    let wrong = || {
        UsageError(format!(
            "nothing to do: give {what}, or pipe them in, one per line"
        ))
    };
    ensure!(!io::stdin().is_terminal(), wrong());
    Ok(())
}
