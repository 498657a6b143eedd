//! Entries of backups that lines tell, as bk-find and `bk-ls --files` print them.
//!
//! Knows no archive.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result, ensure};
use bk_schema::lines::Line;
use bk_schema::record::Backup;
use serde_json::{Map, Value};

use crate::message::UsageError;
use crate::output::from_base64;

/// An entry that a line tells.
#[derive(Debug)]
pub struct Told {
    /// Its name in the archive.
    pub path: OsString,
    /// What is in it, if it is a directory, has lines of its own.
    pub is_alone: bool,
}

/// The backups of some lines, each once if its lines have paths; with the entries that they tell.
///
/// # Errors
/// [`UsageError`] for a path that is none.
pub fn by_identity(lines: Vec<Line>) -> Result<Vec<(Line, Vec<Told>)>> {
    let mut all: Vec<(Line, Vec<Told>)> = Vec::new();
    for line in lines {
        let Some(told) = told(&line)? else {
            all.push((line, Vec::new()));
            continue;
        };
        let same = |it: &&mut (Line, Vec<Told>)| !it.1.is_empty() && it.0.identity == line.identity;
        match all.iter_mut().rev().find(same) {
            Some((_, entries)) => entries.push(told),
            None => all.push((line, vec![told])),
        }
    }
    Ok(all)
}

/// A backup that was found, with what is passed through of its line; or why it was not.
pub type Found = Result<(Backup, Map<String, Value>)>;

/// What was found for such lines, each backup of which entries are told once: a line may name it by its id,
/// and another one by its name.
pub fn by_backup(found: impl IntoIterator<Item = (Found, Vec<Told>)>) -> Vec<(Found, Vec<Told>)> {
    let mut all: Vec<(Found, Vec<Told>)> = Vec::new();
    for (found, told) in found {
        let id = found.as_ref().ok().map(|(backup, _)| backup.id);
        let is_same = |it: &&mut (Found, Vec<Told>)| {
            let other = it.0.as_ref().ok().map(|(backup, _)| backup.id);
            !it.1.is_empty() && id.is_some() && other == id
        };
        match all.iter_mut().find(is_same) {
            Some((_, entries)) if !told.is_empty() => entries.extend(told),
            _ => all.push((found, told)),
        }
    }
    all
}

fn told(line: &Line) -> Result<Option<Told>> {
    let wrong = |key: &str| UsageError(format!("bad input: '{key}' is not as bk-find prints it"));
    let text = |key: &'static str| match line.object.get(key) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| wrong(key)),
    };
    let (plain, encoded) = (text("path")?, text("path_base64")?);
    let path = match encoded {
        Some(encoded) => {
            let bytes = from_base64(encoded).context(wrong("path_base64"));
            Some(OsString::from_vec(bytes?))
        }
        None => plain.map(OsString::from),
    };
    ensure!(path.as_ref().is_none_or(|it| !it.is_empty()), wrong("path"));
    let is_alone = line.object.contains_key("type");
    Ok(path.map(|path| Told { path, is_alone }))
}
