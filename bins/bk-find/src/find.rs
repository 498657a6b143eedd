//! Finds entries by their manifests, and prints them.
//!
//! The catalog is closed before the first manifest is read. Knows no pattern.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, anyhow, bail};
use bk_cli::index::{Survey, complete};
use bk_cli::selection::Selection;
use bk_cli::{Arguments, Output, UsageError, operands, unread};
use bk_schema::clock;
use bk_schema::host::Host;
use bk_schema::lines::Line;
use bk_schema::manifest::{Entry, EntryType, parts};
use bk_schema::record::{Backup, Status};
use bk_store::manifest::search::{Hint, remove_anew, search};
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

/// Where it is looked for.
struct Chosen {
    /// Oldest first.
    backups: Vec<Backup>,
    /// With `--gone` every completed one, else none.
    all: Vec<Backup>,
    here: Host,
}

/// What was found, in which backup.
type Finds<'a> = Vec<(&'a Backup, Entry)>;

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, mut output: Output) -> Result<u8> {
    let selection = Selection::new(arguments, &BACKUP_TYPE, home.now)?;
    let (is_stdin, query) = query(arguments, &home)?;
    if !is_stdin {
        unread::check_no_record(
            "use 'bk-find - PATTERN' to read them, or </dev/null to ignore them",
        )?;
    }
    let given = is_stdin.then(operands::from_stdin).transpose()?;
    let mut status = bk_cli::SUCCESS;
    let chosen = choose(arguments, &home, selection, given, &mut status)?;
    let survey = (!arguments.has(&NO_INDEX)).then_some(index::read as Survey);
    let gone = arguments.has(&GONE);
    let newest = gone.then(|| Newest::of(&chosen.backups, &chosen.all, &chosen.here));
    let newest = match newest {
        Some(newest) => Some(names_of(
            &home,
            newest,
            &chosen.all,
            &query,
            survey,
            &mut status,
        )?),
        None => None,
    };
    let backups = complete(&PROGRAM, &home, chosen.backups, survey, &mut status)?;

    let is_at_once = !arguments.has(&VERSIONS) && !output.is_table();
    let mut finds = Finds::new();
    let hint = query.wanted.hint(query.names.hint());
    look(
        &home,
        &backups,
        &query.names,
        &hint,
        &mut status,
        &mut |backup, entry| {
            let is_gone = newest
                .as_ref()
                .is_none_or(|it| it.lacks(backup, &entry.path));
            if !is_gone || !query.wanted.is_met_by(&entry) {
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
    print(&mut output, finds, arguments.has(&VERSIONS))?;
    Ok(status)
}

/// The backups to look through.
fn choose(
    arguments: &Arguments,
    home: &Home,
    mut selection: Selection,
    given: Option<Vec<Line>>,
    status: &mut u8,
) -> Result<Chosen> {
    let now = home.now;
    let is_given = given.is_some();
    let (found, all, here) = catalog::read(home, |session| {
        selection.ask(session)?;
        let all = match arguments.has(&GONE) {
            true => session.backups()?,
            false => Vec::new(),
        };
        Ok((session.found(given)?, all, session.host()?))
    })?;
    let rows = PROGRAM.report_errors(found, status);
    let mut backups: Vec<_> = rows.map(|(backup, _)| backup).collect();
    backups.sort_by_key(|it| (it.created_at, it.id));
    backups.dedup_by_key(|it| it.id);
    backups.retain(|it| {
        if let Some(obstacle) = it.status.obstacle().filter(|_| is_given) {
            let error = anyhow!("cannot look through '{}': {obstacle}", it.backup_name);
            *status = PROGRAM.report(&error);
        }
        it.status == Status::Completed && selection.is_met_by(it, now)
    });
    if selection.selects_new()
        && let Some(text) = clock::warning(&backups, now)
    {
        PROGRAM.warn(&text);
    }
    selection.retain_latest(&mut backups, |it| it, now);
    let is_completed = |it: &Backup| it.status == Status::Completed;
    let all = all.into_iter().filter_map(Result::ok).filter(is_completed);
    Ok(Chosen {
        backups,
        all: all.collect(),
        here,
    })
}

/// Tells the newest backups what they have of the names that are looked for, whatever else is wanted of
/// it: what is smaller there now is there.
fn names_of(
    home: &Home,
    mut newest: Newest,
    all: &[Backup],
    query: &Query,
    survey: Option<Survey>,
    status: &mut u8,
) -> Result<Newest> {
    let backups: Vec<_> = all.iter().filter(|it| newest.is_one(it)).cloned().collect();
    let names: HashMap<_, _> = backups
        .iter()
        .map(|it| (it.id, it.backup_name.clone()))
        .collect();
    let indexed = complete(&PROGRAM, home, backups, survey, status)?;
    let mut done: HashSet<_> = indexed.iter().map(|it| it.id).collect();
    let hint = query.names.hint();
    let failed = look(
        home,
        &indexed,
        &query.names,
        &hint,
        status,
        &mut |backup, entry| {
            newest.add(backup, entry.path);
            Ok(true)
        },
    )?;
    done.retain(|id| !failed.contains(id));
    for (id, name) in names {
        if !done.contains(&id) {
            PROGRAM.warn(&format!("cannot tell what '{name}' no longer has"));
        }
    }
    newest.retain(&done);
    Ok(newest)
}

fn print(output: &mut Output, finds: Finds<'_>, is_by_version: bool) -> Result<()> {
    if output.is_table() && finds.is_empty() {
        PROGRAM.warn("nothing found");
        return Ok(());
    }
    match (output.is_table(), is_by_version) {
        (true, true) => table::versions(output, &fold(finds))?,
        (true, false) => table::finds(output, finds)?,
        (false, true) => {
            let mut versions = fold(finds);
            // Stable: of each name the oldest first, as of backups.
            versions.reverse();
            versions.sort_by(|a, b| parts(&a.entry.path).cmp(parts(&b.entry.path)));
            for version in &versions {
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
    if patterns.is_empty() && wanted.is_nothing() {
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

/// Gives what has one of the names, backup by backup, as long as `found` says to go on. A manifest that
/// cannot be read to its end is reported; returns the backups whose manifest it is.
fn look<'a>(
    home: &Home,
    backups: &'a [Backup],
    names: &Names,
    hint: &Hint,
    status: &mut u8,
    found: &mut dyn FnMut(&'a Backup, Entry) -> Result<bool>,
) -> Result<HashSet<i64>> {
    let mut failed = HashSet::new();
    for backup in backups {
        let hash = backup.backup_hash.as_deref().unwrap_or_default();
        // Errors of what is done with a find are no errors of the manifest.
        let mut stopped = None;
        let searched = search(home, hash, hint, &mut |entry| {
            let is_dir = entry.entry_type == EntryType::Directory;
            if !names.match_it(&entry.path, is_dir) {
                return Ok(true);
            }
            let went_on = found(backup, entry);
            Ok(went_on.unwrap_or_else(|error| {
                stopped = Some(error);
                false
            }))
        });
        if let Some(error) = stopped {
            return Err(error);
        }
        match searched {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                let name = &backup.backup_name;
                let error = error.context(format!("cannot read the manifest of '{name}'"));
                *status = PROGRAM.report(&error);
                failed.insert(backup.id);
                // That it is gone, or stays, is told the next time.
                let _ = remove_anew(home, hash);
            }
        }
    }
    Ok(failed)
}
