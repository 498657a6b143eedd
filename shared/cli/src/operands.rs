//! The backups that a program is to work on: its operands, or the lines on stdin.
//!
//! Knows no catalog.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use anyhow::Result;
use bk_schema::lines::{self, Identity, Line};

use crate::flags::Arguments;
use crate::message::{UsageError, usage};

/// What a program does without operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoOperands {
    /// Reads stdin.
    Stdin,
    /// Takes the whole catalog.
    Catalog,
    /// Reads stdin; if that is a terminal, takes the whole catalog.
    StdinOrCatalog,
}

/// The backups to work on, each with its line of input; `None` for the whole catalog. `-` alone
/// means stdin, which is read and checked to its end.
///
/// # Errors
/// [`UsageError`]: a malformed operand or line, `-` beside other operands, stdin is a terminal.
pub fn read(arguments: &Arguments, without: NoOperands) -> Result<Option<Vec<Line>>> {
    resolve(&arguments.operands, without)
}

/// The backups to work on, and the last operand, which is a directory.
///
/// # Errors
/// As [`read`], and no operand at all.
pub fn read_before_last(arguments: &Arguments) -> Result<(Vec<Line>, &OsString)> {
    let Some((last, operands)) = arguments.operands.split_last() else {
        return Err(UsageError("no directory given: it is the last operand".into()).into());
    };
    let lines = resolve(operands, NoOperands::Stdin)?;
    Ok((lines.unwrap_or_default(), last))
}

fn resolve(operands: &[OsString], without: NoOperands) -> Result<Option<Vec<Line>>> {
    let is_stdin = match operands {
        [] => match without {
            NoOperands::Stdin => true,
            NoOperands::Catalog => false,
            NoOperands::StdinOrCatalog => !io::stdin().is_terminal(),
        },
        operands => operands == ["-"],
    };
    if is_stdin {
        return Ok(Some(from_stdin()?));
    }
    if operands.is_empty() {
        return Ok(None);
    }
    let mut lines = Vec::new();
    for operand in operands {
        if operand == "-" {
            return Err(
                UsageError("'-' must be the only operand: it reads standard input".into()).into(),
            );
        }
        let text = operand
            .to_str()
            .ok_or_else(|| UsageError(format!("'{}' is not UTF-8", operand.display())))?;
        lines.push(Line {
            identity: Identity::from_operand(text).map_err(|e| UsageError(format!("{e:#}")))?,
            object: serde_json::Map::new(),
        });
    }
    Ok(Some(lines))
}

fn from_stdin() -> Result<Vec<Line>> {
    check_no_terminal("ids, names or records")?;
    lines::read_identities(io::stdin().lock()).map_err(|e| usage(&e, "bad input"))
}

/// Refuses to read `what` from a terminal.
///
/// # Errors
/// [`UsageError`] if stdin is a terminal.
pub fn check_no_terminal(what: &str) -> Result<()> {
    if io::stdin().is_terminal() {
        let text = format!("nothing to do: give {what}, or pipe them in, one per line");
        return Err(UsageError(text).into());
    }
    Ok(())
}
