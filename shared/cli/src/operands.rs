//! Which backups a program is to act on: its operands, or the lines on stdin.
//!
//! The one place that decides this. Knows no catalog.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use anyhow::Result;
use bk_schema::lines::{self, Identity, Line};

use crate::flags::Arguments;
use crate::message::{UsageError, usage};

/// What a program does without operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// It acts on given backups, so it reads stdin.
    Stdin,
    /// It takes the whole catalog.
    Catalog,
    /// It reads stdin; where that is a terminal, it takes the whole catalog.
    StdinOrCatalog,
}

/// The backups that are meant, each with the line that it came by; `None` for the whole
/// catalog. `-` alone means stdin, of which all is read and checked before this returns.
///
/// # Errors
/// [`UsageError`]: a malformed operand or line, `-` beside operands, a terminal as stdin.
pub fn given(arguments: &Arguments, without: Without) -> Result<Option<Vec<Line>>> {
    meant(&arguments.operands, without)
}

/// The backups that are meant, and the last operand, which is none: a directory.
///
/// # Errors
/// As [`given`], and no operand at all.
pub fn given_before_last(arguments: &Arguments) -> Result<(Vec<Line>, &OsString)> {
    let Some((last, operands)) = arguments.operands.split_last() else {
        return Err(UsageError("no directory is given: it is the last operand".into()).into());
    };
    let lines = meant(operands, Without::Stdin)?;
    Ok((lines.unwrap_or_default(), last))
}

fn meant(operands: &[OsString], without: Without) -> Result<Option<Vec<Line>>> {
    let is_stdin = match operands {
        [] => match without {
            Without::Stdin => true,
            Without::Catalog => false,
            Without::StdinOrCatalog => !io::stdin().is_terminal(),
        },
        operands => operands == ["-"],
    };
    if is_stdin {
        return Ok(Some(from_stdin()?));
    }
    if operands.is_empty() {
        return Ok(None);
    }
    let mut meant = Vec::new();
    for operand in operands {
        if operand == "-" {
            return Err(UsageError("'-' stands alone: it reads all from stdin".into()).into());
        }
        let text = operand
            .to_str()
            .ok_or_else(|| UsageError(format!("'{}' is not UTF-8", operand.display())))?;
        meant.push(Line {
            identity: Identity::from_operand(text).map_err(|e| usage(&e, "no backup"))?,
            object: serde_json::Map::new(),
        });
    }
    Ok(Some(meant))
}

fn from_stdin() -> Result<Vec<Line>> {
    check_no_terminal("ids, names or records")?;
    lines::read_identities(io::stdin().lock()).map_err(|e| usage(&e, "bad input"))
}

/// Waiting for somebody to type JSON helps nobody.
///
/// # Errors
/// [`UsageError`], where stdin is a terminal.
pub fn check_no_terminal(what: &str) -> Result<()> {
    if io::stdin().is_terminal() {
        let text = format!("nothing is given: name {what}, or pipe them in, one a line");
        return Err(UsageError(text).into());
    }
    Ok(())
}
