//! The flags of bk-create that a job has.
//!
//! bk-create checks their values. Knows no catalog.

use std::path::Path;

use anyhow::{Result, ensure};
use bk_archive::format::codec::Compression;
use bk_cli::{Arguments, Flag, content};
use bk_schema::invalid::invalid;

use crate::flags::{COMPRESSION, EXCLUDE_FROM, FILES_FROM, NULL, SHRINK_WARN};
use crate::words::{self, Given, Known, absolute, name_of, values};

/// Those that only `--create-flag` gives. All take a value.
const OTHERS: [&str; 6] = [
    "level",
    "jobs",
    "storage",
    "reserve",
    "on-low-space",
    "low-space-timeout",
];
/// Those whose value is a path.
const OF_PATHS: [&str; 3] = [EXCLUDE_FROM.long, FILES_FROM.long, "storage"];

/// Those that bk-auto has too.
pub(crate) fn own() -> impl Iterator<Item = Flag> {
    content::EXCLUDES
        .into_iter()
        .chain([FILES_FROM, NULL, COMPRESSION, SHRINK_WARN])
}

/// Its own flags that were given.
///
/// # Errors
/// [`bk_cli::UsageError`], which names the flag.
pub(crate) fn given(arguments: &Arguments) -> Result<Vec<Given>> {
    words::given(own(), arguments, |flag, value| {
        // What stands for standard input is none of a job's.
        let is_path = OF_PATHS.contains(&flag.long) && value != "-";
        let value = match is_path {
            true => absolute(Path::new(value))?,
            false => value.to_owned(),
        };
        let word = format!("--{}={value}", flag.long);
        check(std::slice::from_ref(&word))?;
        Ok(word)
    })
}

/// Whether a flag is about lists of what is backed up.
pub(crate) fn is_list(flag: &str) -> bool {
    [FILES_FROM.long, NULL.long].contains(&name_of(flag))
}

/// The files that list what is backed up.
pub(crate) fn lists(flags: &[String]) -> impl Iterator<Item = &str> {
    values(flags, FILES_FROM.long)
}

/// # Errors
/// What is no flag that a job can have, and a path that is relative.
pub(crate) fn check(flags: &[String]) -> Result<()> {
    let own = own().map(|flag| (flag.long, flag.value.is_some()));
    let known: Vec<Known> = own.chain(OTHERS.map(|name| (name, true))).collect();
    words::check(flags, &known)?;
    for flag in flags {
        let name = name_of(flag);
        let value = flag.split_once('=').map_or("", |(_, value)| value);
        if name == COMPRESSION.long && Compression::parse(value).is_none() {
            return Err(invalid("compression", value, Compression::FORM));
        }
        ensure!(
            !OF_PATHS.contains(&name) || Path::new(value).is_absolute(),
            "'{}': a job needs an absolute path",
            flag.escape_debug()
        );
    }
    Ok(())
}
