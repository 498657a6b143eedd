//! The catalog: read, or written to, one session at a time.
//!
//! A session locks, opens, runs one transaction, closes and unlocks; what it returns are plain
//! values, so that nobody can hold the catalog while touching a pipe, a terminal or an archive.
//! Knows no query and no archive format; recovery alone touches archives, by their paths.

use anyhow::{Context, Error, Result, ensure};
use bk_schema::lines::Line;
use bk_schema::migrations::NEWEST;

use crate::archives::durable::{make_dir, privately, sync_dir};
use crate::archives::spare;
use crate::backups::Found;
use crate::home::Home;
use crate::lock::{Access, Backoff, Lock};
use crate::manifest::sweep;
use crate::session::Session;
use crate::storage::exposed;
use crate::storage_table::Archive;
use crate::{recovery, storage_table, version};

/// Runs one read transaction, after it has upgraded the catalog where that is an older one.
///
/// # Errors
/// No catalog, a newer one, one that cannot be upgraded or does not open, a lock that is not to be had.
pub fn read<T>(home: &Home, work: impl FnOnce(&Session<'_>) -> Result<T>) -> Result<T> {
    check_there(home)?;
    let mut backoff = Backoff::new(home.lock_timeout);
    loop {
        let lock = Lock::take(&home.dir, Access::Read, home.program, &mut backoff)?;
        let session = Session::open(home, &home.catalog(), Access::Read, &mut backoff)?;
        if session.version()? == NEWEST {
            home.storages.set(session.storages()?);
            return work(&session);
        }
        drop(session);
        drop(lock);
        version::upgrade_first(home, &mut backoff)?;
    }
}

/// For a program that writes and is to make no catalog.
///
/// # Errors
/// No catalog; the message tells who makes one.
pub fn check_there(home: &Home) -> Result<()> {
    let is_there = home.catalog().try_exists();
    ensure!(
        is_there.with_context(|| format!("cannot look into the home '{}'", home.dir.display()))?,
        "there is no catalog in '{}': bk-create makes one with the first backup, bk-adopt one of archives that are there; --home names another place",
        home.dir.display()
    );
    Ok(())
}

/// Resolves lines to records, in their order, or takes every backup, oldest first. Opens no catalog
/// for no lines.
///
/// # Errors
/// As [`read`]; each that is unknown or damaged is an error of its own.
pub fn resolve(home: &Home, lines: Option<Vec<Line>>) -> Result<Vec<Found>> {
    if lines.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Vec::new());
    }
    read(home, |session| session.found(lines))
}

/// Runs one write transaction, after it has made the catalog where it is missing, upgraded it
/// where it is an older one, and failed the creations that dead processes left.
///
/// # Errors
/// As [`read`], and those of the disk. Nothing of `work` is kept where an error is returned.
pub fn write<T>(home: &Home, work: impl FnOnce(&Session<'_>) -> Result<T>) -> Result<T> {
    write_then(home, work, Ok)
}

/// As [`write`], and does `then` after the commit, before anybody else gets the catalog: for
/// the lock that tells recovery of a row that it is being worked on.
///
/// # Errors
/// As [`write`]; where `then` returns one, what `work` wrote is kept.
pub fn write_then<T, U>(
    home: &Home,
    work: impl FnOnce(&Session<'_>) -> Result<T>,
    then: impl FnOnce(T) -> Result<U>,
) -> Result<U> {
    let (value, unmarked) = privately(|| {
        let mut backoff = Backoff::new(home.lock_timeout);
        let _lock = lock_to_write(home, &mut backoff)?;
        let (value, unmarked) = transact(home, &mut backoff, &[], work)?;
        spare::allocate_of_plenty(home);
        Ok::<_, Error>((then(value)?, unmarked))
    })?;
    mark(home, unmarked);
    Ok(value)
}

/// As [`write`], for work that marks rows, and makes no catalog: the spare is released for it, as
/// the disk may be full, and recovery leaves to this process the rows that are its `own`, sorted.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_marked<T>(
    home: &Home,
    own: &[i64],
    work: impl FnOnce(&Session<'_>) -> Result<T>,
) -> Result<T> {
    check_there(home)?;
    let (value, unmarked) = privately(|| {
        let mut backoff = Backoff::new(home.lock_timeout);
        let _lock = lock_to_write(home, &mut backoff)?;
        spare::release(home);
        transact(home, &mut backoff, own, work)
    })?;
    mark(home, unmarked);
    Ok(value)
}

/// Marks the storages that a session found without a marker, once the catalog is left: whoever
/// waits for a storage that hangs is to hold up nobody else.
fn mark(home: &Home, unmarked: Vec<Archive>) {
    let marked = storage_table::mark_all(unmarked);
    if marked.is_empty() {
        return;
    }
    // The next session that writes finds the marker and tries it again.
    let _ = privately(|| {
        let mut backoff = Backoff::new(home.lock_timeout);
        let _lock = lock_to_write(home, &mut backoff)?;
        transact(home, &mut backoff, &[], |session| {
            session.keep_marked(&marked)
        })
    });
}

fn lock_to_write(home: &Home, backoff: &mut Backoff) -> Result<Lock> {
    make_dir(&home.dir)
        .with_context(|| format!("cannot make the home '{}'", home.dir.display()))?;
    let lock = Lock::take(&home.dir, Access::Write, home.program, backoff)?;
    home.storages.set_writes();
    if let Some(exposed) = exposed(&home.dir) {
        let dir = home.dir.display();
        let text = format!("warning: the home '{dir}' {exposed}");
        home.storages.tell(&text);
    }
    version::close_to_others(home);
    Ok(lock)
}

/// The value of `work`, and the archives in directories that are no storages yet.
fn transact<T>(
    home: &Home,
    backoff: &mut Backoff,
    own: &[i64],
    work: impl FnOnce(&Session<'_>) -> Result<T>,
) -> Result<(T, Vec<Archive>)> {
    if !home.has_catalog() {
        version::create(home, backoff)?;
    }
    let mut session = Session::open(home, &home.catalog(), Access::Write, backoff)?;
    if session.version()? < NEWEST {
        drop(session);
        version::upgrade(home, backoff)?;
        session = Session::open(home, &home.catalog(), Access::Write, backoff)?;
    }
    home.storages.set(session.storages()?);
    recovery::run(&session, own)?;
    let value = session.transaction(|| {
        session.settle_host()?;
        let value = work(&session)?;
        // Not in each part of a long removal, which brings no archive anywhere.
        let unmarked = match own {
            [] => session.unmarked()?,
            _ => Vec::new(),
        };
        let orphans = session.without_record(sweep::archive_hashes(home))?;
        Ok((value, unmarked, orphans))
    });
    let (value, unmarked, orphans) = value?;
    session.close()?;
    sync_dir(&home.dir)?;
    sweep::sweep(home, &orphans);
    Ok((value, unmarked))
}
