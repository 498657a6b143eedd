//! Which backups a program is to act on: its operands, or the lines on stdin.
//!
//! The one place that decides this. Knows no catalog.

use std::io::{self, IsTerminal};

use anyhow::Result;

use crate::cli::{Arguments, UsageError, usage};
use crate::lines::{self, Identity, Line};

/// What a program does without operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// It acts on given backups, so it reads stdin.
    Stdin,
    /// It takes the whole catalog.
    Catalog,
}

/// The backups that are meant, each with the line that it came by; `None` for the whole
/// catalog. `-` alone means stdin, of which all is read and checked before this returns.
///
/// # Errors
/// [`UsageError`]: a malformed operand or line, `-` beside operands, a terminal as stdin.
pub fn given(arguments: &Arguments, without: Without) -> Result<Option<Vec<Line>>> {
    let operands = &arguments.operands;
    let is_stdin = match operands.as_slice() {
        [] => without == Without::Stdin,
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
