//! Finds entries by their manifests, and prints them.
//!
//! The catalog is closed before the first manifest is read. Knows no pattern.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, bail};
use bk_cli::index::{Survey, complete};
use bk_cli::selection::Selection;
use bk_cli::{Arguments, Output, UsageError, operands};
use bk_schema::clock;
use bk_schema::lines::Line;
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
    let selection = Selection::new(arguments, &BACKUP_TYPE, home.now)?;
    let (is_stdin, query) = query(arguments, &home)?;
    let given = is_stdin.then(operands::from_stdin).transpose()?;
    let mut status = bk_cli::SUCCESS;
    let (mut backups, all) = choose(arguments, &home, selection, given, &mut status)?;
    let mut newest = arguments.has(&GONE).then(|| Newest::of(&all));
    let chosen: HashSet<_> = backups.iter().map(|it| it.id).collect();
    let others = newest.iter().flat_map(Newest::all);
    backups.extend(others.filter(|it| !chosen.contains(&it.id)).cloned());

    let survey = (!arguments.has(&NO_INDEX)).then_some(index::read as Survey);
    let indexed = complete(&PROGRAM, &home, backups, survey, &mut status);
    let is_at_once = newest.is_none() && !arguments.has(&VERSIONS) && !output.is_table();
    let mut finds = Finds::new();
    look(
        &home,
        &indexed,
        &query,
        newest.as_mut(),
        &mut |backup, entry| {
            if !chosen.contains(&backup.id) {
                return Ok(true);
            }
            if is_at_once {
                output.line(&Find::new(backup, &entry))?;
            } else {
                finds.push((backup, entry));
            }
            Ok(!output.is_closed())
        },
    )?;
    if let Some(newest) = newest {
        finds.retain(|(backup, entry)| newest.lacks(backup, &entry.path));
    }
    print(&mut output, finds, arguments.has(&VERSIONS))?;
    Ok(status)
}

/// The backups to look through, and with `--gone` all that are completed.
fn choose(
    arguments: &Arguments,
    home: &Home,
    mut selection: Selection,
    given: Option<Vec<Line>>,
    status: &mut u8,
) -> Result<(Vec<Backup>, Vec<Backup>)> {
    let now = home.now;
    let (found, all) = catalog::read(home, |session| {
        selection.ask(session)?;
        let all = match arguments.has(&GONE) {
            true => session.backups()?,
            false => Vec::new(),
        };
        Ok((session.found(given)?, all))
    })?;
    let is_completed = |it: &Backup| it.status == Status::Completed;
    let rows = PROGRAM.report_errors(found, status);
    let mut backups: Vec<_> = rows.map(|(backup, _)| backup).collect();
    backups.retain(|it| is_completed(it) && selection.is_met_by(it, now));
    if selection.selects_new()
        && let Some(text) = clock::warning(&backups, now)
    {
        PROGRAM.warn(&text);
    }
    selection.retain_latest(&mut backups, |it| it, now);
    let all = all.into_iter().filter_map(Result::ok).filter(is_completed);
    Ok((backups, all.collect()))
}

fn print(output: &mut Output, finds: Finds<'_>, is_by_version: bool) -> Result<()> {
    match (output.is_table(), is_by_version) {
        (true, true) => table::versions(output, &fold(finds))?,
        (true, false) => table::finds(output, finds)?,
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
    output.flush()
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
    if arguments.has(&REGEX) {
        // DuckDB checks them, and it begins with a home.
        catalog::check_there(home)?;
    }
    let names = Names::new(
        home,
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
    found: &mut dyn FnMut(&'a Backup, Entry) -> Result<bool>,
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
            return Ok(true);
        }
        for backup in of_hash.get(hash).into_iter().flatten() {
            if let Some(newest) = &mut newest {
                newest.add(backup, &entry.path);
            }
            if query.wanted.is_met_by(&entry) && !found(backup, entry.clone())? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}
