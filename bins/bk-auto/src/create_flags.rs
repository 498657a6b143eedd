//! The flags of bk-create that a job has, each as one word: `--exclude=*.log`.
//!
//! bk-create checks their values. Knows no catalog.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bk_archive::format::codec::Compression;
use bk_cli::{Arguments, Flag, content, usage};
use bk_schema::invalid::invalid;

use crate::flags::{COMPRESSION, EXCLUDE_FROM, FILES_FROM, NULL};

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
        .chain([FILES_FROM, NULL, COMPRESSION])
}

/// One of its own flags, as often as it was given: they replace those of that name that the job has.
#[derive(Debug, PartialEq)]
pub(crate) struct Given {
    name: &'static str,
    pub(crate) flags: Vec<String>,
}

impl Given {
    pub(crate) fn apply(&self, flags: &mut Vec<String>) {
        flags.retain(|flag| name_of(flag) != self.name);
        flags.extend_from_slice(&self.flags);
    }
}

/// Its own flags that were given. An empty value takes away.
///
/// # Errors
/// [`bk_cli::UsageError`], which names the flag.
pub(crate) fn given(arguments: &Arguments) -> Result<Vec<Given>> {
    let is_given = |flag: &Flag| arguments.has(flag);
    let given = |flag: Flag| {
        let flags = match flag.value {
            None => vec![format!("--{}", flag.long)],
            Some(_) => with_values(&flag, &arguments.texts(&flag)?)
                .map_err(|e| usage(&e, &format!("--{}", flag.long)))?,
        };
        let name = flag.long;
        Ok(Given { name, flags })
    };
    own().filter(is_given).map(given).collect()
}

fn with_values(flag: &Flag, values: &[&str]) -> Result<Vec<String>> {
    let values = values.iter().filter(|value| !value.is_empty());
    let flags: Vec<_> = values
        .map(|value| {
            // What stands for standard input is none of a job's.
            let is_path = OF_PATHS.contains(&flag.long) && *value != "-";
            let value = match is_path {
                true => absolute(Path::new(value))?,
                false => (*value).to_owned(),
            };
            Ok(format!("--{}={value}", flag.long))
        })
        .collect::<Result<_>>()?;
    check(&flags)?;
    Ok(flags)
}

/// The values of one flag.
pub(crate) fn values<'a>(
    flags: &'a [String],
    name: &str,
) -> impl DoubleEndedIterator<Item = &'a str> {
    let of_name = move |flag: &'a String| {
        let (found, value) = flag.strip_prefix("--")?.split_once('=')?;
        (found == name).then_some(value)
    };
    flags.iter().filter_map(of_name)
}

/// Whether a flag is about lists of what is backed up.
pub(crate) fn is_list(flag: &str) -> bool {
    [FILES_FROM.long, NULL.long].contains(&name_of(flag))
}

/// The files that list what is backed up.
pub(crate) fn lists(flags: &[String]) -> impl Iterator<Item = &str> {
    values(flags, FILES_FROM.long)
}

fn name_of(flag: &str) -> &str {
    let long = flag.strip_prefix("--").unwrap_or(flag);
    long.split_once('=').map_or(long, |(name, _)| name)
}

/// # Errors
/// What is no flag that a job can have, and a path that is relative.
pub(crate) fn check(flags: &[String]) -> Result<()> {
    let own = own().map(|flag| (flag.long, flag.value.is_some()));
    let all: Vec<_> = own.chain(OTHERS.map(|name| (name, true))).collect();
    for flag in flags {
        let shown = flag.escape_debug();
        ensure!(
            flag.starts_with("--"),
            "'{shown}' is not a flag: write it as --NAME=VALUE"
        );
        let name = name_of(flag);
        let value = flag.split_once('=').map(|(_, value)| value);
        let Some((_, takes)) = all.iter().find(|(known, _)| *known == name) else {
            let all: Vec<_> = all.iter().map(|(name, _)| *name).collect();
            bail!("'{shown}' is not one of --{}", all.join(", --"));
        };
        let form = if *takes {
            "=VALUE"
        } else {
            ", without a value"
        };
        ensure!(*takes == value.is_some(), "'{shown}': it is --{name}{form}");
        let value = value.unwrap_or_default();
        if name == COMPRESSION.long && Compression::parse(value).is_none() {
            return Err(invalid("compression", value, Compression::FORM));
        }
        ensure!(
            !OF_PATHS.contains(&name) || Path::new(value).is_absolute(),
            "'{shown}': a job needs an absolute path"
        );
    }
    Ok(())
}

/// # Errors
/// A path that is not UTF-8.
pub(crate) fn absolute(path: &Path) -> Result<String> {
    let cannot = || format!("'{}'", path.display());
    let all = std::path::absolute(path).with_context(cannot)?;
    let all: PathBuf = all.components().collect();
    let text = all.to_str().map(str::to_owned);
    text.with_context(|| format!("{} is not UTF-8", cannot()))
}
