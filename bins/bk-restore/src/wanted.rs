//! Which entries are wanted of a backup: by the command line for all backups, or by the lines for each.
//!
//! Knows no archive.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use anyhow::Result;
use bk_archive::restore::names::Selection;
use bk_cli::entries::{self, Found, Told};
use bk_cli::{Arguments, usage};

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
    /// [`UsageError`](bk_cli::UsageError), which names the flag.
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

/// What is wanted of each backup; `None` where no entry of it is told.
///
/// # Errors
/// [`UsageError`](bk_cli::UsageError) for a path that leads out.
pub(crate) fn by_backup(
    found: impl IntoIterator<Item = (Found, Vec<Told>)>,
) -> Result<Vec<(Found, Option<Wanted>)>> {
    let with_wanted = |(found, told): (Found, Vec<Told>)| {
        let has_entries = !told.is_empty();
        let wanted = has_entries.then(|| Wanted::by_line(told));
        Ok((found, wanted.transpose()?))
    };
    let all = entries::by_backup(found);
    all.into_iter().map(with_wanted).collect()
}
