//! The named locations: keeps, lists and forgets them in the settings of the catalog.
//!
//! Sends nothing; to a directory it leaves a marker, and with `--init` it makes it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use bk_cli::units::human_size;
use bk_cli::{Arguments, Cell, Column, Cut, Output, Progress, UsageError};
use bk_offsite::destination::{self, Destination, LockFor, parse_rate, text, unknown};
use bk_offsite::failure::kind;
use bk_offsite::marker::MARKER;
use bk_remote::{Location, LockMode, Place, Service};
use bk_schema::copy::{BackupCopy, check_location};
use bk_schema::invalid::parse_choice;
use bk_store::{Home, Session, Signals, catalog};
use jiff::Timestamp;
use serde_json::json;

use crate::flags::{
    CREDENTIALS, ENDPOINT, INIT, LIMIT_RATE, LOCK, LOCK_MODE, LOST, PROGRAM, RECIPIENT, REGION,
    STORAGE_CLASS,
};
use crate::journal::{self, Journal};

const COLUMNS: [Column; 8] = [
    Column::left("LOCATION"),
    Column::left("URL").cut(Cut::Middle, 20),
    Column::left("ENDPOINT").leaves(5),
    Column::left("CREDENTIALS").leaves(6),
    Column::left("ENCRYPTED").leaves(3),
    Column::left("LOCK").leaves(4),
    Column::right("COPIES").leaves(2),
    Column::right("SIZE").leaves(1),
];

/// So many are named in a message.
const IDS_MAX: usize = 8;

/// `--set NAME URL`: keeps a location.
pub(crate) fn set(arguments: &Arguments, home: &Home) -> Result<u8> {
    let [name, url] = arguments.operands.as_slice() else {
        bail!(UsageError(
            "--set takes a name and a URL: bk-push --set offsite s3://bucket/prefix".into()
        ));
    };
    let name = text(name)?;
    check_location(name).map_err(|error| UsageError(format!("{error:#}")))?;
    let url = text(url)?;
    let mut destination = described(arguments, url, home.now)?;
    let is_directory = destination.location.service() == Service::Directory;
    if is_directory || arguments.has(&INIT) {
        let place = destination.open_any(&Signals::watch()?, &Progress::new(&PROGRAM))?;
        if arguments.has(&INIT) {
            place.init()?;
        }
        if is_directory {
            destination.id = id(home, name, &destination, place.as_ref())?;
        }
    }
    let setting = serde_json::to_string(&destination)?;
    let old = catalog::write(home, |session| {
        check_no_other(session, name, &destination)?;
        let old = known(session, name)?;
        if let Some(old) = old.as_ref().filter(|old| !is_same(old, &destination)) {
            check_no_copies(home, session, name, old)?;
        }
        session.set_location(name, &setting)?;
        Ok(old)
    })?;
    warn_of_less(name, old.as_ref(), &destination);
    if let Some(dir) = dir_of(url).filter(|dir| !dir.is_dir()) {
        PROGRAM.warn(&format!(
            "note: '{}' is not there: mount its disk, or make it by --init",
            dir.display()
        ));
    }
    Ok(bk_cli::SUCCESS)
}

/// What the name stands for, as far as that can be read.
fn known(session: &Session<'_>, name: &str) -> Result<Option<Destination>> {
    let all = session.locations()?;
    let known = all.iter().find(|(known, _)| known == name);
    Ok(known.and_then(|(_, text)| Destination::parse(name, text).ok()))
}

/// Two names for one place would count one copy as two.
fn check_no_other(session: &Session<'_>, name: &str, new: &Destination) -> Result<()> {
    for (other, text) in session.locations()? {
        let known = Destination::parse(&other, &text).ok();
        let is_it = |known: Destination| known.id.is_some() && known.id == new.id;
        ensure!(
            other == name || !known.is_some_and(is_it),
            "{} is the location '{other}' already; where it is a copy of that one, remove its '{MARKER}'",
            new.location
        );
    }
    Ok(())
}

/// What the marker of a directory tells; one is left where there is none.
fn id(home: &Home, name: &str, new: &Destination, place: &dyn Place) -> Result<Option<String>> {
    let (old, copies) = match home.has_catalog() {
        true => catalog::read(home, |session| {
            Ok((known(session, name)?, session.complete_at(name)?))
        })?,
        false => (None, Vec::new()),
    };
    let same = old.filter(|old| old.url() == new.url());
    let copies = if same.is_some() { copies } else { Vec::new() };
    let known = Destination {
        id: same.and_then(|old| old.id),
        ..new.clone()
    };
    match known.identify(place, &copies) {
        // It may be there to be read alone.
        Err(error) if kind(&error).is_some() => {
            PROGRAM.warn(&format!("warning: cannot leave its '{MARKER}': {error:#}"));
            Ok(known.id)
        }
        id => id,
    }
}

/// Whether it is the same place: another disk may be mounted at the same path, and the same at another.
fn is_same(old: &Destination, new: &Destination) -> bool {
    match (&old.id, &new.id) {
        (Some(old), Some(new)) => old == new,
        _ => old.url() == new.url(),
    }
}

/// All of a location is set anew; what protected the copies and goes with that is told.
fn warn_of_less(name: &str, old: Option<&Destination>, new: &Destination) {
    let Some(old) = old else { return };
    for (flag, is_lost) in [
        (
            RECIPIENT,
            !old.recipients.is_empty() && new.recipients.is_empty(),
        ),
        (LOCK, old.lock.is_some() && new.lock.is_none()),
    ] {
        if is_lost {
            PROGRAM.warn(&format!(
                "warning: '{name}' had --{}, and has none now: --set sets all of a location anew",
                flag.long
            ));
        }
    }
}

/// A name under which copies are known stays with its place: they would count as being at the other one.
fn check_no_copies(
    home: &Home,
    session: &Session<'_>,
    name: &str,
    old: &Destination,
) -> Result<()> {
    let place = &old.location;
    let standing = Standing::of(home, session, name)?;
    ensure!(
        standing.copies.is_empty(),
        "cannot set '{name}' to another place: copies are known at {place}; 'bk-push --remove' removes them, and another name keeps them"
    );
    if let Some(id) = standing.uploads.first() {
        let remedy = giving_up(session, name, *id)?;
        bail!(
            "cannot set '{name}' to another place: an upload to {place} was begun: {remedy} gives it up"
        );
    }
    session.forget_copies(name, &standing.nothing)
}

/// What is known to be at a location.
struct Standing {
    /// Backups that have one there, whole or in part.
    copies: Vec<i64>,
    /// Begun, and in part there.
    uploads: Vec<i64>,
    /// Backups whose copies came to nothing: these rows tell of no object.
    nothing: Vec<i64>,
}

impl Standing {
    fn of(home: &Home, session: &Session<'_>, name: &str) -> Result<Self> {
        let mut standing = Self {
            copies: Vec::new(),
            uploads: Vec::new(),
            nothing: Vec::new(),
        };
        for copy in session.copies_at(name)? {
            match copy {
                // One that was whole may be there in part, as its removal failed.
                Ok(copy) if copy.copied_at.is_none() => match is_begun(home, &copy)? {
                    true => standing.uploads.push(copy.backup_id),
                    false => standing.nothing.push(copy.backup_id),
                },
                Ok(copy) => standing.copies.push(copy.backup_id),
                Err(bad) => standing.copies.push(bad.id),
            }
        }
        Ok(standing)
    }

    /// What nothing knows of, nothing removes or brings back.
    fn check_forgettable(&self, session: &Session<'_>, name: &str) -> Result<()> {
        if let (0, Some(id)) = (self.copies.len(), self.uploads.first()) {
            let remedy = giving_up(session, name, *id)?;
            bail!("cannot forget '{name}': an upload to it was begun: {remedy} gives it up");
        }
        let (known, them) = match self.copies.len() {
            0 => return Ok(()),
            1 => ("one copy is".to_owned(), "it"),
            count => (format!("{count} copies are"), "them"),
        };
        let rows = session.find_ids(self.copies.iter().copied())?;
        let ids: Vec<_> = rows.iter().flatten().map(|it| it.id.to_string()).collect();
        let of_records = match ids.len() {
            0 => None,
            1..=IDS_MAX => Some(format!("'bk-push --remove {name} {}'", ids.join(" "))),
            // Also of those that are bad.
            _ => Some(format!(
                r#"'bk-ls --json | jq -c "select(any(.copies[]; .location == \"{name}\"))" | bk-push --remove {name}'"#
            )),
        };
        let has_gone = ids.len() < self.copies.len();
        let of_gone = has_gone.then(|| format!("'bk-push --remove --gone {name}'"));
        let remedies: Vec<_> = of_records.into_iter().chain(of_gone).collect();
        bail!(
            "cannot forget '{name}': {known} known there, and nothing would remove {them} or bring {them} back any more; to remove what is not locked: {}",
            remedies.join(" and ")
        )
    }
}

/// The command that gives an upload up.
fn giving_up(session: &Session<'_>, name: &str, id: i64) -> Result<String> {
    let rows = session.find_ids([id])?;
    Ok(match rows.iter().flatten().next() {
        Some(_) => format!("'bk-push --remove {name} {id}'"),
        None => format!("'bk-push --remove --gone {name}'"),
    })
}

/// Whether an upload is under way, or was, with parts that are there.
fn is_begun(home: &Home, copy: &BackupCopy) -> Result<bool> {
    let journal = Journal::take(&home.dir, &copy.location, copy.backup_id)?;
    Ok(journal.is_none_or(|it| it.plan.is_some()))
}

/// The directory that a URL names.
fn dir_of(url: &str) -> Option<&Path> {
    url.strip_prefix("file://").map(Path::new)
}

/// A mount point is there, empty, when nothing is mounted on it.
fn check_below_mount(url: &str) -> Result<()> {
    let Some(dir) = dir_of(url) else {
        return Ok(());
    };
    let above = dir.parent().and_then(|it| it.metadata().ok());
    let is_mount = |(own, above): (Metadata, Metadata)| own.dev() != above.dev();
    ensure!(
        !dir.metadata().ok().zip(above).is_some_and(is_mount),
        UsageError(format!(
            "'{}' is there when nothing is mounted on it, too: name a directory below it",
            dir.display()
        ))
    );
    Ok(())
}

fn described(arguments: &Arguments, url: &str, now: Timestamp) -> Result<Destination> {
    let wrong = |error: bk_remote::Error| UsageError(format!("{error}"));
    let mut location: Location = url.parse().map_err(wrong)?;
    if let Some(endpoint) = arguments.text(&ENDPOINT)? {
        location = location.with_endpoint(endpoint).map_err(wrong)?;
    }
    if let Some(region) = arguments.text(&REGION)? {
        location = location.with_region(region).map_err(wrong)?;
    }
    check_below_mount(url)?;
    let service = location.service();
    for (flag, others) in [
        (CREDENTIALS, &[Service::Directory][..]),
        (
            STORAGE_CLASS,
            &[Service::Directory, Service::Rclone, Service::Azure],
        ),
        (
            LOCK,
            &[
                Service::Directory,
                Service::Rclone,
                Service::Google,
                Service::Azure,
            ],
        ),
        (INIT, &[Service::S3, Service::Google, Service::Azure]),
    ] {
        let is_meant = !others.contains(&service) || !arguments.has(&flag);
        let told = format!("--{} has no meaning for {}", flag.long, name_of(service));
        ensure!(is_meant, UsageError(told));
    }
    let credentials = arguments.value(&CREDENTIALS);
    Ok(Destination {
        location,
        credentials: credentials.map(std::path::absolute).transpose()?,
        storage_class: arguments.text(&STORAGE_CLASS)?.map(str::to_owned),
        lock: lock(arguments, now)?,
        recipients: destination::recipients(arguments, &RECIPIENT)?,
        limit_rate: arguments.parsed(&LIMIT_RATE, parse_rate)?,
        id: None,
    })
}

fn name_of(service: Service) -> &'static str {
    match service {
        Service::S3 => "S3: a bucket has to be there",
        Service::Google => "Google Cloud Storage",
        Service::Azure => "Azure Blob Storage",
        Service::Directory => "a directory",
        Service::Rclone => "rclone",
    }
}

const LOCK_MODES: [(&str, LockMode); 2] = [
    ("compliance", LockMode::Compliance),
    ("governance", LockMode::Governance),
];

fn lock(arguments: &Arguments, now: Timestamp) -> Result<Option<LockFor>> {
    let mode = arguments.parsed(&LOCK_MODE, |text| {
        parse_choice(&LOCK_MODES, text, "lock mode")
    })?;
    let parse = |span: &str| LockFor::new(span, mode.unwrap_or(LockMode::Compliance), now);
    let lock = arguments.parsed(&LOCK, parse)?;
    ensure!(
        lock.is_some() || mode.is_none(),
        UsageError("--lock-mode goes with --lock".into())
    );
    Ok(lock)
}

/// `--list`: the locations, with how many copies are known there.
pub(crate) fn list(home: &Home, mut output: Output) -> Result<u8> {
    let mut status = bk_cli::SUCCESS;
    let all = catalog::read(home, |session| {
        let locations = session.locations()?.into_iter();
        let with_copies = |(name, text): (String, String)| {
            let copies = session.copies_at(&name)?;
            Ok((name, text, copies))
        };
        locations.map(with_copies).collect::<Result<Vec<_>>>()
    })?;
    let mut rows = Vec::new();
    for (name, text, copies) in all {
        let parsed = Destination::parse(&name, &text);
        let Some(destination) = PROGRAM.report_errors([parsed], &mut status).next() else {
            continue;
        };
        let copies = PROGRAM.report_errors(copies, &mut status);
        let complete: Vec<_> = copies.filter(|copy| copy.is_complete()).collect();
        let bytes: u64 = complete.iter().filter_map(|copy| copy.size).sum();
        if output.is_table() {
            let url = Cell::from(destination.location.to_string());
            let count = complete.len().to_string();
            let credentials = destination.credentials.as_ref();
            let is_encrypted = !destination.recipients.is_empty();
            rows.push(vec![
                name.into(),
                url,
                Cell::or_dash(destination.location.endpoint().map(str::to_owned)),
                Cell::or_dash(credentials.map(|it| it.display().to_string())),
                if is_encrypted { "yes" } else { "no" }.into(),
                Cell::or_dash(destination.lock.map(|lock| lock.span)),
                count.into(),
                human_size(bytes).into(),
            ]);
            continue;
        }
        let mut line = json!({ "location": name });
        if let (Some(line), serde_json::Value::Object(keys)) =
            (line.as_object_mut(), serde_json::to_value(&destination)?)
        {
            line.extend(keys);
            line.insert("copies".into(), complete.len().into());
            line.insert("bytes".into(), bytes.into());
        }
        output.line(&line)?;
    }
    if !rows.is_empty() {
        output.table(&COLUMNS, &rows)?;
    }
    output.flush()?;
    Ok(status)
}

/// `--unset NAME...`: forgets locations, all or none.
pub(crate) fn unset(arguments: &Arguments, home: &Home) -> Result<u8> {
    let names = arguments.operands.iter().map(text);
    let names: Vec<_> = names.collect::<Result<_>>()?;
    ensure!(
        !names.is_empty(),
        UsageError("--unset takes the names of locations".into())
    );
    let is_lost = arguments.has(&LOST);
    catalog::check_there(home)?;
    catalog::write(home, |session| {
        let known = session.locations()?;
        for name in &names {
            if !known.iter().any(|(it, _)| it == name) {
                return Err(unknown(name, &known));
            }
            let standing = Standing::of(home, session, name)?;
            if !is_lost {
                standing.check_forgettable(session, name)?;
            }
            for ids in [&standing.copies, &standing.uploads, &standing.nothing] {
                session.forget_copies(name, ids)?;
            }
            session.unset_location(name)?;
            // Before the name goes: without it, nothing would find them any more.
            if is_lost {
                journal::remove_all(&home.dir, name)?;
            }
        }
        Ok(())
    })?;
    Ok(bk_cli::SUCCESS)
}
