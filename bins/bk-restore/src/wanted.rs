//! Which entries are wanted of a backup: by the command line for all backups, or by the lines for each.
//!
//! Knows no archive.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use anyhow::{Context, Result, ensure};
use bk_archive::restore::names::Selection;
use bk_cli::output::from_base64;
use bk_cli::{Arguments, UsageError, usage};
use bk_schema::lines::{Identity, Line};
use bk_schema::record::Backup;
use serde_json::{Map, Value};

use crate::flags::PATH;

/// The entries that are wanted; without paths and globs all are.
pub(crate) struct Wanted {
    pub(crate) selection: Selection,
    /// The paths as they were given.
    pub(crate) paths: Vec<OsString>,
    /// Whether each path has a line of its own: what the backup does not hold keeps no other path from
    /// being restored.
    pub(crate) is_by_line: bool,
}

impl Wanted {
    /// What the command line says. `paths` are the operands after `--`.
    ///
    /// # Errors
    /// [`UsageError`], which names the flag.
    pub(crate) fn new(arguments: &Arguments, paths: &[OsString]) -> Result<Self> {
        let bytes: Vec<_> = paths.iter().map(|path| path.as_bytes()).collect();
        let selection = Selection::new(&bytes, &arguments.texts(&PATH)?);
        Ok(Self {
            selection: selection.map_err(|e| usage(&e, "--path"))?,
            paths: paths.to_owned(),
            is_by_line: false,
        })
    }

    fn by_line(entries: Vec<Told>) -> Result<Self> {
        let paths = entries.iter().map(|it| (it.path.as_bytes(), !it.is_alone));
        let selection = Selection::of_entries(paths).map_err(|e| usage(&e, "bad input"))?;
        Ok(Self {
            selection,
            paths: entries.into_iter().map(|it| it.path).collect(),
            is_by_line: true,
        })
    }
}

/// An entry that a line tells.
pub(crate) struct Told {
    path: OsString,
    /// What is in it, if it is a directory, has lines of its own.
    is_alone: bool,
}

/// The backups of some lines, each once if its lines have paths; with the entries that they tell.
///
/// # Errors
/// [`UsageError`] for a path that is none.
pub(crate) fn by_identity(lines: Vec<Line>) -> Result<Vec<(Line, Vec<Told>)>> {
    let mut all: Vec<(Line, Vec<Told>)> = Vec::new();
    for line in lines {
        let Some(told) = told(&line)? else {
            all.push((line, Vec::new()));
            continue;
        };
        let same = |it: &&mut (Line, Vec<Told>)| {
            !it.1.is_empty() && is_same(&it.0.identity, &line.identity)
        };
        match all.iter_mut().rev().find(same) {
            Some((_, entries)) => entries.push(told),
            None => all.push((line, vec![told])),
        }
    }
    Ok(all)
}

/// A backup that was found, with what is passed through of its line; or why it was not.
type Found = Result<(Backup, Map<String, Value>)>;

/// What was found for such lines, each backup of which entries are wanted once: a line may name it by its id,
/// and another one by its name. `None` is wanted where no entry is told.
///
/// # Errors
/// [`UsageError`] for a path that leads out.
pub(crate) fn by_backup(
    found: impl IntoIterator<Item = (Found, Vec<Told>)>,
) -> Result<Vec<(Found, Option<Wanted>)>> {
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
    let with_wanted = |(found, told): (Found, Vec<Told>)| {
        let has_entries = !told.is_empty();
        let wanted = has_entries.then(|| Wanted::by_line(told));
        Ok((found, wanted.transpose()?))
    };
    all.into_iter().map(with_wanted).collect()
}

fn is_same(one: &Identity, other: &Identity) -> bool {
    one.id == other.id && one.name == other.name
}

/// The entry that a line tells, as bk-find and `bk-ls --files` print it.
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
