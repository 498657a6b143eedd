//! Lists of paths to back up, as `tar -T`, `rsync --files-from` and `restic --files-from-verbatim` take them.
//!
//! A line is a path as it stands: a blank, a `#` or a star in it means nothing. Looks for no path.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use bk_cli::operands::check_no_terminal;
use bk_cli::{Arguments, UsageError, usage};
use serde_json::{Map, Value};

use crate::flags::{FILES_FROM, NULL};

/// Longer than any list whose paths a record can name.
const LIST_MAX_BYTES: u64 = 16 << 20;

/// What is listed, and how lists are read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listed {
    pub(crate) paths: Vec<PathBuf>,
    /// The paths end with NUL.
    is_null: bool,
}

impl Listed {
    /// What the files of the flags list.
    ///
    /// # Errors
    /// [`UsageError`]: a file that cannot be read, or is not such a list.
    pub(crate) fn of_flags(arguments: &Arguments) -> Result<Self> {
        let is_null = arguments.has(&NULL);
        let mut paths = Vec::new();
        for file in arguments.values(&FILES_FROM) {
            if file == "-" {
                if arguments.operands.iter().any(|one| one == "-") {
                    let text = "--files-from: standard input carries the requests";
                    return Err(UsageError(text.into()).into());
                }
                check_no_terminal("paths")?;
            }
            let read = read(file, is_null);
            paths.extend(read.map_err(|e| usage(&e, "--files-from"))?);
        }
        Ok(Self { paths, is_null })
    }

    /// Takes the keys of lists out of a line.
    ///
    /// # Errors
    /// As [`of_flags`](Self::of_flags).
    pub(crate) fn set(&mut self, object: &mut Map<String, Value>) -> Result<()> {
        let mut take = |key| object.shift_remove(key).filter(|value| !value.is_null());
        if let Some(value) = take("null") {
            let is_null = value.as_bool().context("is neither true nor false");
            self.is_null = is_null.context("its null")?;
        }
        if let Some(value) = take("files_from") {
            self.paths = self.of_value(value).context("its files_from")?;
        }
        Ok(())
    }

    fn of_value(&self, value: Value) -> Result<Vec<PathBuf>> {
        let files = match value {
            Value::Array(all) => all,
            one => vec![one],
        };
        let mut paths = Vec::new();
        for file in files {
            let file = bk_schema::lines::string(file)?;
            ensure!(file != "-", "standard input carries the requests");
            paths.extend(read(OsStr::new(&file), self.is_null)?);
        }
        Ok(paths)
    }
}

fn read(file: &OsStr, is_null: bool) -> Result<Vec<PathBuf>> {
    let shown = match file.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => format!("'{}'", file.display()),
    };
    let bytes = bytes_of(file).with_context(|| format!("cannot read {shown}"))?;
    ensure!(
        bytes.len() as u64 <= LIST_MAX_BYTES,
        "{shown} has more than {LIST_MAX_BYTES} bytes, and no record can name so many paths"
    );
    ensure!(
        is_null || !bytes.contains(&0),
        "{shown} holds a NUL, which no path does: --null reads paths that end with one"
    );
    let end = if is_null { 0 } else { b'\n' };
    let paths = bytes.split(|byte| *byte == end);
    let paths = paths.filter(|path| !path.is_empty());
    Ok(paths
        .map(|path| OsString::from_vec(path.to_vec()).into())
        .collect())
}

/// One more than the longest list has, at most.
fn bytes_of(file: &OsStr) -> io::Result<Vec<u8>> {
    let opened: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(file)?),
    };
    let mut bytes = Vec::new();
    opened.take(LIST_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
