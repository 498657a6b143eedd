//! Looks for entries in many manifests at once.
//!
//! DuckDB leaves out what cannot be wanted; what is left is for the caller to compare. Knows no glob
//! and no record.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use bk_schema::manifest::Entry;
use duckdb::arrow::array::{Array, StringArray};

use crate::engine::connect;
use crate::home::Home;
use crate::manifest::columns::Rows;
use crate::manifest::reader::Reader;
use crate::manifest::table::{COLUMNS, FROM_ARCHIVE, is_possible, path, quoted, sha256};

/// What a wanted entry has at least.
#[derive(Debug, Default, Clone)]
pub struct Hint {
    /// Its name has one of these parts; none: it may be any name.
    pub name_parts: Vec<String>,
    /// It matches one of these regular expressions; none: it may be any name. Of a name that is not UTF-8
    /// what is text is compared.
    pub regexes: Vec<String>,
    /// The parts are in lower case, and the name may be in any; so for the expressions.
    pub ignores_case: bool,
    /// Its size is at least this.
    pub size_min_bytes: u64,
    /// Its size is at most this.
    pub size_max_bytes: Option<u64>,
}

/// Whether the manifest of an archive is there, and is either that of its record or one that was made
/// anew from the archive.
#[must_use]
pub fn is_usable(home: &Home, archive_hash: &str, hash: Option<&str>) -> bool {
    if !is_possible(home) {
        return false;
    }
    let is_its_own = File::open(path(home, archive_hash))
        .and_then(|file| sha256(&file))
        .is_ok_and(|found| hash == Some(&*found));
    is_its_own || {
        let reader = Reader::open(home, archive_hash, None);
        reader.is_ok_and(|it| it.is_some_and(|it| it.format() == Some(FROM_ARCHIVE)))
    }
}

/// Checks a regular expression.
///
/// # Errors
/// One that RE2, which DuckDB has, does not take.
pub fn check_regex(home: &Home, regex: &str) -> Result<()> {
    let connection = connect(&home.dir)?;
    let sql = "SELECT regexp_matches('', ?)";
    let checked = connection.query_row(sql, [regex], |row| row.get::<_, bool>(0));
    checked.map(drop).map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().next().unwrap_or_default();
        anyhow!(reason.replace("Invalid Input Error: ", ""))
    })
}

/// Gives each entry that a hint allows, with the hash of its archive: archive by archive as they are
/// given, each once, in the order of each; as long as `found` says to go on.
///
/// # Errors
/// Those of `found`, and a manifest that cannot be read, or has what no entry can be.
pub fn search(
    home: &Home,
    archive_hashes: &[&str],
    hint: &Hint,
    found: &mut dyn FnMut(&str, Entry) -> Result<bool>,
) -> Result<()> {
    if archive_hashes.is_empty() {
        return Ok(());
    }
    let connection = connect(&home.dir)?;
    let sql = sql(home, archive_hashes, hint);
    let mut statement = connection.prepare(&sql)?;
    // Its iterator would panic where something cannot be read.
    drop(statement.stream_arrow([])?);
    while let Some(columns) = statement.step()? {
        let files = columns.columns().get(COLUMNS.len());
        let files = files.and_then(|it| it.as_any().downcast_ref::<StringArray>());
        let files = files.context("the rows do not tell their manifest")?;
        for (at, (entry, _)) in Rows::new(&columns).read()?.into_iter().enumerate() {
            let hash = Path::new(files.value(at)).file_stem();
            let hash = hash.and_then(|it| it.to_str()).unwrap_or_default();
            if !found(hash, entry)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn sql(home: &Home, archive_hashes: &[&str], hint: &Hint) -> String {
    let places: Vec<_> = archive_hashes
        .iter()
        .map(|hash| quoted(&path(home, hash).display().to_string()))
        .collect();
    let columns = COLUMNS.iter().map(|(name, kind)| format!("{name}::{kind}"));
    let columns: Vec<_> = columns.collect();
    let size_max_bytes = hint.size_max_bytes.unwrap_or(u64::MAX);
    format!(
        "SELECT {}, filename FROM read_parquet([{}], filename = true)
         WHERE size BETWEEN {} AND {size_max_bytes} AND ({})",
        columns.join(", "),
        places.join(", "),
        hint.size_min_bytes,
        names(hint)
    )
}

/// The condition on names, which are compared by their bytes where they are no text.
fn names(hint: &Hint) -> String {
    let (name, other) = match hint.ignores_case {
        // Beyond ASCII, lower case is not the same everywhere.
        true => ("lower(path)", "strlen(path) <> length(path)"),
        false => ("path", "path_bytes IS NOT NULL"),
    };
    let parts = hint.name_parts.iter();
    let parts = parts.map(|part| format!("contains({name}, {})", quoted(part)));
    let parts: Vec<_> = parts.collect();
    let options = if hint.ignores_case { "i" } else { "c" };
    let regexes = hint.regexes.iter();
    let regexes = regexes.map(|it| format!("regexp_matches(path, {}, '{options}')", quoted(it)));
    let regexes: Vec<_> = regexes.collect();
    match (&parts[..], &regexes[..]) {
        ([], []) => "true".to_owned(),
        ([], _) => regexes.join(" OR "),
        _ => format!("{other} OR {}", parts.join(" OR ")),
    }
}
