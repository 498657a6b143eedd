//! Finds entries by their manifests, and prints them.
//!
//! The catalog is closed before the first manifest is read. Knows no pattern.

use std::collections::HashMap;

use anyhow::{Result, bail};
use bk_cli::selection::Selection;
use bk_cli::{Arguments, Output, UsageError};
use bk_schema::lines;
use bk_schema::manifest::{Entry, EntryType};
use bk_schema::record::{Backup, Status};
use bk_store::manifest::search::search;
use bk_store::{Home, catalog};

use crate::flags::{BACKUP_TYPE, GONE, IGNORE_CASE, NO_INDEX, PROGRAM, REGEX, VERSIONS};
use crate::gone::Newest;
use crate::line::Find;
use crate::names::Names;
use crate::versions::fold;
use crate::wanted::Wanted;
use crate::{index, table};

/// What is looked for.
struct Query {
    names: Names,
    wanted: Wanted,
}

/// What was found, in which backup.
type Finds<'a> = Vec<(&'a Backup, Entry)>;

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, mut output: Output) -> Result<u8> {
    let now = home.now;
    let mut selection = Selection::new(arguments, &BACKUP_TYPE, now)?;
    let (is_stdin, query) = query(arguments, &home)?;
    let given = match is_stdin {
        true => Some(lines::read_identities(std::io::stdin().lock())?),
        false => None,
    };
    let (found, all) = catalog::read(&home, |session| {
        selection.here = session.host()?;
        let all = match arguments.has(&GONE) {
            true => session.backups()?,
            false => Vec::new(),
        };
        Ok((session.found(given)?, all))
    })?;
    let mut status = bk_cli::SUCCESS;
    let rows = PROGRAM.report_errors(found, &mut status);
    let mut backups: Vec<_> = rows.map(|(backup, _)| backup).collect();
    backups.retain(|it| it.status == Status::Completed && selection.is_met_by(it, now));
    selection.retain_latest(&mut backups, |it| it, now);

    let all: Vec<_> = all.into_iter().filter_map(Result::ok).collect();
    let completed: Vec<_> = all
        .into_iter()
        .filter(|it| it.status == Status::Completed)
        .collect();
    let mut newest = arguments.has(&GONE).then(|| Newest::of(&completed));
    let selected: Vec<_> = backups.iter().map(|it| it.id).collect();
    let others = newest
        .iter()
        .flat_map(Newest::all)
        .filter(|it| !selected.contains(&it.id));
    backups.extend(others.cloned().collect::<Vec<_>>());

    let indexed = index::all(&home, backups, arguments.has(&NO_INDEX), &mut status)?;
    let is_plain = newest.is_none() && !arguments.has(&VERSIONS) && !output.is_table();
    let mut finds = Finds::new();
    look(
        &home,
        &indexed,
        &query,
        newest.as_mut(),
        &mut |backup, entry| {
            if !selected.contains(&backup.id) {
                return Ok(());
            }
            if is_plain {
                return output.line(&Find::new(backup, &entry));
            }
            finds.push((backup, entry));
            Ok(())
        },
    )?;
    if let Some(newest) = newest {
        finds.retain(|(backup, entry)| newest.lacks(backup, &entry.path));
    }
    match (output.is_table(), arguments.has(&VERSIONS)) {
        (true, true) => table::versions(&mut output, &fold(finds))?,
        (true, false) => table::finds(&mut output, finds)?,
        (false, true) => {
            for version in &fold(finds) {
                output.line(&Find::of_version(version))?;
            }
        }
        (false, false) => {
            for (backup, entry) in &finds {
                output.line(&Find::new(backup, entry))?;
            }
        }
    }
    output.flush()?;
    Ok(status)
}

/// Whether the backups come on stdin, and what is looked for.
fn query(arguments: &Arguments, home: &Home) -> Result<(bool, Query)> {
    let (is_stdin, operands) = match arguments.operands.split_first() {
        Some((first, rest)) if first == "-" => (true, rest),
        _ => (false, &arguments.operands[..]),
    };
    let texts = operands.iter().map(|it| {
        let text = it.to_str();
        text.ok_or_else(|| UsageError(format!("'{}' is not UTF-8", it.display())).into())
    });
    let patterns = texts.collect::<Result<Vec<_>>>()?;
    let wanted = Wanted::new(arguments, home.now)?;
    if patterns.is_empty() && wanted.is_any() {
        bail!(UsageError("no pattern given: '*' finds everything".into()));
    }
    let names = Names::new(
        &patterns,
        arguments.has(&REGEX),
        arguments.has(&IGNORE_CASE),
    )?;
    Ok((is_stdin, Query { names, wanted }))
}

/// Gives what is looked for, backup by backup, and tells `newest` all names that match.
fn look<'a>(
    home: &Home,
    backups: &'a [Backup],
    query: &Query,
    mut newest: Option<&mut Newest<'_>>,
    found: &mut dyn FnMut(&'a Backup, Entry) -> Result<()>,
) -> Result<()> {
    let mut of_hash: HashMap<&str, Vec<&Backup>> = HashMap::new();
    let mut hashes = Vec::new();
    for backup in backups {
        let Some(hash) = backup.backup_hash.as_deref() else {
            continue;
        };
        let same = of_hash.entry(hash).or_default();
        if same.is_empty() {
            hashes.push(hash);
        }
        same.push(backup);
    }
    // What is smaller there now is there.
    let hint = match &newest {
        Some(_) => query.names.hint(),
        None => query.wanted.hint(query.names.hint()),
    };
    search(home, &hashes, &hint, &mut |hash, entry| {
        let is_dir = entry.entry_type == EntryType::Directory;
        if !query.names.match_it(&entry.path, is_dir) {
            return Ok(());
        }
        for backup in of_hash.get(hash).into_iter().flatten() {
            if let Some(newest) = &mut newest {
                newest.add(backup, &entry.path);
            }
            if query.wanted.is_met_by(&entry) {
                found(backup, entry.clone())?;
            }
        }
        Ok(())
    })
}
