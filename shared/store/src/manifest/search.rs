//! Looks for entries in manifests.
//!
//! DuckDB leaves out what cannot be wanted; what is left is for the caller to compare. Knows no glob
//! and no record.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use bk_schema::manifest::Entry;

use crate::engine::connect;
use crate::home::Home;
use crate::manifest::columns::Rows;
use crate::manifest::reader::{file, format_of, select};
use crate::manifest::table::{self, FROM_ARCHIVE, is_possible, path, quoted, sha256};

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

/// Whether a home may have manifests.
///
/// # Errors
/// It may not: why.
pub fn check_home(home: &Home) -> Result<()> {
    let dir = home.dir.display();
    ensure!(
        is_possible(home),
        "cannot read manifests where the path of the home holds a '?' or is not UTF-8: move '{dir}' to another path"
    );
    Ok(())
}

/// Whether the manifest of an archive is there, of this version, and is either that of its record or one
/// that was made anew from the archive.
#[must_use]
pub fn is_usable(home: &Home, archive_hash: &str, hash: Option<&str>) -> bool {
    let place = path(home, archive_hash);
    let Ok(Some(file)) = table::open(&place) else {
        return false;
    };
    let is_its_own = || sha256(&file).is_ok_and(|found| hash == Some(&*found));
    let format = connect(&home.dir).and_then(|connection| format_of(&connection, &place));
    format.is_ok_and(|format| format.as_deref() == Some(FROM_ARCHIVE) || is_its_own())
}

/// Removes a manifest that cannot be read to its end, if it was made from the archive: nothing else
/// tells that it is damaged, and it is made again by whoever needs it.
///
/// # Errors
/// Those of the file system.
pub fn remove_anew(home: &Home, archive_hash: &str) -> Result<()> {
    let place = path(home, archive_hash);
    let format = format_of(&connect(&home.dir)?, &place)?;
    if format.as_deref() == Some(FROM_ARCHIVE) {
        std::fs::remove_file(place)?;
    }
    Ok(())
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

/// Gives each entry of a manifest that a hint allows, in their order, as long as `found` says to go on.
/// Whether it did to the end.
///
/// # Errors
/// Those of `found`, and a manifest that cannot be read, or has what no entry can be.
pub fn search(
    home: &Home,
    archive_hash: &str,
    hint: &Hint,
    found: &mut dyn FnMut(Entry) -> Result<bool>,
) -> Result<bool> {
    let connection = connect(&home.dir)?;
    let place = path(home, archive_hash);
    // Nearly always all names are text. A condition on one column is looked at before the others are
    // read, which takes half of the time.
    let other = format!(
        "SELECT count(*) FROM {} WHERE path_bytes IS NOT NULL",
        file(&place)
    );
    let are_texts = connection.query_row(&other, [], |row| row.get::<_, u64>(0))? == 0;
    let mut statement = connection.prepare(&sql(&place, hint, are_texts))?;
    // Its iterator would panic where something cannot be read.
    drop(statement.stream_arrow([])?);
    while let Some(columns) = statement.step()? {
        for (entry, _) in Rows::new(&columns).read()? {
            if !found(entry)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn sql(place: &Path, hint: &Hint, are_texts: bool) -> String {
    let mut conditions = vec![names(hint, are_texts)];
    if hint.size_min_bytes > 0 {
        conditions.push(format!("size >= {}", hint.size_min_bytes));
    }
    let size_max_bytes = hint.size_max_bytes.iter();
    conditions.extend(size_max_bytes.map(|bytes| format!("size <= {bytes}")));
    format!("{} WHERE {}", select(place), conditions.join(" AND "))
}

/// The condition on names, which are compared by their bytes where they are no text.
fn names(hint: &Hint, are_texts: bool) -> String {
    let (name, other) = match hint.ignores_case {
        // Beyond ASCII, lower case is not the same everywhere.
        true => ("lower(path)", "strlen(path) <> length(path) OR "),
        false if are_texts => ("path", ""),
        false => ("path", "path_bytes IS NOT NULL OR "),
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
        ([], _) => format!("({})", regexes.join(" OR ")),
        _ => format!("({other}{})", parts.join(" OR ")),
    }
}
