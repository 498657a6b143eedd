//! Brings whole archives back to where their records say that they are, or to a directory.
//!
//! No catalog is open while anything is read from the location.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use bk_cli::listing::{self, Listed};
use bk_cli::{Arguments, Output, Progress, Report};
use bk_offsite::Destination;
use bk_offsite::encryption::Identities;
use bk_schema::lines::Line;
use bk_store::archives::durable::{check_makeable, dir_of, make_dir, privately};
use bk_store::storage::{Storage, Unreachable};
use bk_store::{Home, Signals, catalog, parts};
use serde_json::json;

use crate::bringing::{Bringing, COLUMNS};
use crate::flags::{DIRECTORY, DRY_RUN, IDENTITY, PROGRAM};
use crate::rules::{Plan, Rules, check_space};

pub(crate) fn run(
    arguments: &Arguments,
    home: &Home,
    destination: &Destination,
    location: &str,
    lines: Vec<Line>,
    output: Output,
) -> Result<u8> {
    let rules = rules(arguments, home, location)?;
    let mut status = bk_cli::SUCCESS;
    let found = catalog::resolve(home, Some(lines))?;
    let found: Vec<_> = PROGRAM.report_errors(found, &mut status).collect();
    let mut seen = HashSet::new();
    let mut plans = Vec::new();
    for (backup, line) in found.into_iter().filter(|(it, _)| seen.insert(it.id)) {
        let name = backup.backup_name.clone();
        match rules.plan(backup, line) {
            Ok(plan) => plans.push(plan),
            Err(error) => tell(&rules, &name, &error, &mut status),
        }
    }
    let report = Report::new(output, &COLUMNS);
    let signals = Signals::watch()?;
    let progress = Progress::new(&PROGRAM);
    let place = destination.open(&signals, &progress)?;
    if arguments.has(&DRY_RUN) {
        return dry_run(&rules, plans, report, status);
    }
    if plans.is_empty() {
        return Ok(status);
    }
    let storages = enter_all(&rules, &mut plans, &mut status)?;
    let mut bringing = Bringing {
        place,
        rules,
        signals: signals.clone(),
        progress,
        report,
        status,
        storages,
        queue: plans.into(),
        left_count: 0,
    };
    let sizes = bringing.queue.iter().flat_map(|plan| &plan.copy);
    let (bytes, count) = (sizes.clone().filter_map(|it| it.size).sum(), sizes.count());
    bringing
        .progress
        .begin_counting(bytes, count as u64, "archives");
    let ended = parts::run(home, &signals, &mut bringing);
    bringing.progress.end();
    bringing.tell_left();
    ended.and(bringing.report.end())?;
    Ok(signals.exit_status(bringing.status))
}

/// What the command line says of how.
///
/// # Errors
/// Keys that cannot be read.
pub(crate) fn rules(arguments: &Arguments, home: &Home, location: &str) -> Result<Rules> {
    let identities = arguments.value(&IDENTITY).map(|file| {
        let file = PathBuf::from(file);
        Ok::<_, anyhow::Error>((Identities::read(&file)?, file))
    });
    let dir = arguments.value(&DIRECTORY).map(std::path::absolute);
    Ok(Rules {
        home: home.clone(),
        location: location.to_owned(),
        dir: dir.transpose()?,
        identities: identities.transpose()?,
    })
}

/// Tells why a backup is not brought; of a storage that is not there once, however many it has.
fn tell(rules: &Rules, name: &str, error: &anyhow::Error, status: &mut u8) {
    *status = bk_cli::SOME_FAILED;
    match error.downcast_ref::<Unreachable>() {
        Some(unreachable) => rules.home.storages.tell_unreachable(unreachable),
        None => PROGRAM.warn(&cannot(rules, name, error)),
    }
}

/// A line on what could not be brought.
pub(crate) fn cannot(rules: &Rules, name: &str, error: &anyhow::Error) -> String {
    let (name, location) = (name.escape_debug(), &rules.location);
    format!("cannot bring '{name}' from '{location}': {error:#}")
}

/// Makes the directories ready that archives come into. What cannot be is told once, and its plans are left out.
fn enter_all(rules: &Rules, plans: &mut Vec<Plan>, status: &mut u8) -> Result<Vec<Storage>> {
    let mut entered = BTreeMap::new();
    for plan in plans.iter().filter(|it| it.copy.is_some()) {
        let dir = dir_of(&plan.path);
        if !entered.contains_key(dir) {
            let done = enter(rules, dir);
            if let Err(error) = &done {
                rules.home.storages.tell(&format!("{error:#}"));
                *status = bk_cli::SOME_FAILED;
            }
            entered.insert(dir.to_owned(), done.ok());
        }
    }
    plans.retain(|it| it.copy.is_none() || !matches!(entered.get(dir_of(&it.path)), Some(None)));
    Ok(entered.into_values().flatten().flatten().collect())
}

/// What is to be kept of a directory that is ready: where archives are by their records, it is a storage.
fn enter(rules: &Rules, dir: &Path) -> Result<Option<Storage>> {
    if rules.dir.is_some() {
        let cannot = || format!("cannot make the directory '{}'", dir.display());
        privately(|| make_dir(dir)).with_context(cannot)?;
        return Ok(None);
    }
    let archives = catalog::read(&rules.home, |session| session.archives_in(dir))?;
    let archives = archives.iter().map(String::as_str);
    rules.home.storages.enter(dir, archives, false)
}

/// What would be brought.
fn dry_run(rules: &Rules, plans: Vec<Plan>, mut report: Report, mut status: u8) -> Result<u8> {
    for plan in plans {
        let checked = match &plan.copy {
            Some(_) => check(rules, &plan),
            None => Ok(()),
        };
        if let Err(error) = checked {
            tell(rules, &plan.backup.backup_name, &error, &mut status);
            continue;
        }
        let Plan {
            backup,
            line,
            path,
            copy,
        } = plan;
        let told = json!({
            "location": rules.location,
            "key": copy.as_ref().map(|it| &it.object_key),
            "path": path.to_string_lossy(),
            "bytes": copy.map_or(Some(0), |it| it.size),
            "dry_run": true,
        });
        let row = vec![
            backup.id.to_string().into(),
            listing::size(&backup).into(),
            "-".into(),
            rules.location.clone().into(),
            listing::source_cell(&backup),
            path.to_string_lossy().into_owned().into(),
        ];
        let listed = Listed::stat(&rules.home, backup).with([("pull", told)], line);
        report.add(&listed, row)?;
    }
    report.end()?;
    Ok(status)
}

/// What [`enter`] and the run would refuse.
fn check(rules: &Rules, plan: &Plan) -> Result<()> {
    let dir = dir_of(&plan.path);
    if rules.dir.is_none() {
        let archives = catalog::read(&rules.home, |session| session.archives_in(dir))?;
        let archives = archives.iter().map(String::as_str);
        rules.home.storages.check_before(dir, archives)?;
    }
    check_makeable(dir).map_err(|error| anyhow!("{error:#}"))?;
    check_space(&plan.path, &plan.backup)
}
