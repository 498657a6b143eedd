//! Flags of another program that a job keeps, each as one word: `--exclude=*.log`.
//!
//! Knows no program and checks no value.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bk_cli::{Arguments, Flag, usage};

/// A flag that a job may keep: its name, and whether it takes a value.
pub(crate) type Known = (&'static str, bool);

/// One flag, as often as it was given: they replace those of that name that the job has.
#[derive(Debug, PartialEq)]
pub(crate) struct Given {
    name: &'static str,
    pub(crate) words: Vec<String>,
}

impl Given {
    pub(crate) fn apply(&self, words: &mut Vec<String>) {
        words.retain(|word| name_of(word) != self.name);
        words.extend_from_slice(&self.words);
    }
}

/// Those of a table that were given. `word` makes the word of a value; an empty value takes away.
///
/// # Errors
/// [`bk_cli::UsageError`], which names the flag.
pub(crate) fn given(
    table: impl Iterator<Item = Flag>,
    arguments: &Arguments,
    word: impl Fn(&Flag, &str) -> Result<String>,
) -> Result<Vec<Given>> {
    let is_given = |flag: &Flag| arguments.has(flag);
    let given = |flag: Flag| {
        let words = match flag.value {
            None => vec![format!("--{}", flag.long)],
            Some(_) => {
                let values = arguments.texts(&flag)?.into_iter();
                let values = values.filter(|value| !value.is_empty());
                let words: Result<_> = values.map(|value| word(&flag, value)).collect();
                words.map_err(|e| usage(&e, &format!("--{}", flag.long)))?
            }
        };
        let name = flag.long;
        Ok(Given { name, words })
    };
    table.filter(is_given).map(given).collect()
}

/// The values of one flag.
pub(crate) fn values<'a>(
    words: &'a [String],
    name: &str,
) -> impl DoubleEndedIterator<Item = &'a str> {
    let of_name = move |word: &'a String| {
        let (found, value) = word.strip_prefix("--")?.split_once('=')?;
        (found == name).then_some(value)
    };
    words.iter().filter_map(of_name)
}

/// The name of the flag that a word is.
pub(crate) fn name_of(word: &str) -> &str {
    let long = word.strip_prefix("--").unwrap_or(word);
    long.split_once('=').map_or(long, |(name, _)| name)
}

/// # Errors
/// A word that is no flag, or none of the known ones, or has a value where it takes none.
pub(crate) fn check(words: &[String], known: &[Known]) -> Result<()> {
    for word in words {
        let shown = word.escape_debug();
        ensure!(
            word.starts_with("--"),
            "'{shown}' is not a flag: write it as --NAME=VALUE"
        );
        let name = name_of(word);
        let Some((_, takes)) = known.iter().find(|(it, _)| *it == name) else {
            let all: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            bail!("'{shown}' is not one of --{}", all.join(", --"));
        };
        let form = if *takes {
            "=VALUE"
        } else {
            ", without a value"
        };
        ensure!(
            *takes == word.contains('='),
            "'{shown}': it is --{name}{form}"
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
