//! What is to be left out: by the flags, and by the keys of a line, which take their place.
//!
//! Knows no source.

use anyhow::{Context, Result, bail};
use bk_archive::write::filter::Filter;
use bk_cli::{Arguments, units, usage};
use bk_schema::excludes::{self, Excludes};
use bk_schema::invalid::invalid;
use bk_schema::lines::string;
use serde_json::Value;

use crate::flags::{
    EXCLUDE, EXCLUDE_CACHES, EXCLUDE_FROM, EXCLUDE_IF_PRESENT, EXCLUDE_LARGER,
    IGNORE_CASE_EXCLUDES, ONE_FILE_SYSTEM,
};

/// # Errors
/// [`bk_cli::UsageError`], which names the flag.
pub(crate) fn of_flags(arguments: &Arguments) -> Result<Excludes> {
    let excludes = Excludes {
        globs: globs(arguments)?,
        ignores_case: arguments.has(&IGNORE_CASE_EXCLUDES),
        caches: arguments.has(&EXCLUDE_CACHES),
        if_present: arguments.all_parsed(&EXCLUDE_IF_PRESENT, marker)?,
        larger: arguments.parsed(&EXCLUDE_LARGER, units::parse_size)?,
        one_file_system: arguments.has(&ONE_FILE_SYSTEM),
    };
    Filter::new(&excludes).map_err(|e| usage(&e, "--exclude"))?;
    Ok(excludes)
}

/// Takes over one of [`Excludes::KEYS`] of a line.
///
/// # Errors
/// A value that cannot be used.
pub(crate) fn set(taken: &mut Excludes, key: &str, value: Value) -> Result<()> {
    match key {
        excludes::GLOBS => {
            taken.globs = texts(value)?;
            Filter::new(taken)?;
        }
        excludes::IGNORES_CASE => taken.ignores_case = is_set(&value)?,
        excludes::CACHES => taken.caches = is_set(&value)?,
        excludes::IF_PRESENT => {
            let names = texts(value)?;
            let names = names.iter().map(|name| marker(name));
            taken.if_present = names.collect::<Result<_>>()?;
        }
        excludes::LARGER => {
            let other = "is neither a number of bytes nor a size such as \"500M\"";
            taken.larger = Some(match value {
                Value::String(text) => units::parse_size(&text)?,
                number => number.as_u64().context(other)?,
            });
        }
        excludes::ONE_FILE_SYSTEM => taken.one_file_system = is_set(&value)?,
        _ => bail!("is no key of what is left out"),
    }
    Ok(())
}

/// The globs of `--exclude`, then those in the files, without blank lines and comments.
fn globs(arguments: &Arguments) -> Result<Vec<String>> {
    let mut globs: Vec<String> = Vec::new();
    globs.extend(arguments.texts(&EXCLUDE)?.into_iter().map(str::to_owned));
    for file in arguments.values(&EXCLUDE_FROM) {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read '{}'", file.display()))
            .map_err(|e| usage(&e, "--exclude-from"))?;
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        globs.extend(lines.map(str::to_owned));
    }
    Ok(globs)
}

/// The name of an entry that marks the directory in which it is.
fn marker(name: &str) -> Result<String> {
    if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        return Err(invalid("name", name, "one without a slash"));
    }
    Ok(name.to_owned())
}

fn is_set(value: &Value) -> Result<bool> {
    value.as_bool().context("is neither true nor false")
}

/// An array of texts, or a single one.
fn texts(value: Value) -> Result<Vec<String>> {
    match value {
        Value::Array(all) => all.into_iter().map(string).collect(),
        Value::String(one) => Ok(vec![one]),
        _ => bail!("is not an array of strings"),
    }
}
