//! How a catalog comes to the version that these programs know: made anew, or upgraded from an
//! older one.
//!
//! Either is done under another name, and the catalog's name is given last: at any instant
//! there is the old catalog, the new one, or none yet. Called with the catalog locked for
//! writing. Knows no record.

use std::fs::File;
use std::io::{self, ErrorKind, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bk_schema::event::Event;
use bk_schema::migrations::{MIGRATIONS, NEWEST};
use rustix::fs::{FlockOperation, fcntl_lock};
use serde_json::json;

use crate::archives::durable::{dir_of, make_file, privately, sync_dir, with_suffix};
use crate::archives::open::is_absent;
use crate::home::Home;
use crate::lock::{Access, Backoff, Lock};
use crate::session::Session;

/// What DuckDB may keep beside a file: a file that gets its name would be read with them.
const WALS: [&str; 3] = [".wal", ".wal.checkpoint", ".wal.recovery"];

/// A half-made catalog is never seen: it is made under another name, then renamed.
///
/// # Errors
/// Those of DuckDB and of the disk, and a WAL that is left of another catalog.
pub(crate) fn create(home: &Home, backoff: &mut Backoff) -> Result<()> {
    let cannot = || format!("cannot make the catalog in '{}'", home.dir.display());
    // DuckDB would refuse the new catalog for it.
    if let Some(orphan) = wal_of(&home.catalog()) {
        bail!(
            "{}: '{}' is left of the catalog that was there: move it aside too",
            cannot(),
            orphan.display()
        );
    }
    let fresh = Fresh::new(&home.catalog()).with_context(cannot)?;
    let made = || -> Result<()> {
        migrate(home, &fresh.path, 0, backoff)?;
        fresh.keep(&home.catalog())
    };
    made().with_context(cannot)
}

/// Closes to others what was made before this was done to all that DuckDB makes. Where that is
/// not to be had, as on a share that gives all files one mode, it is a warning.
pub(crate) fn close_to_others(home: &Home) {
    let catalog = home.catalog();
    let wals = WALS.map(|suffix| with_suffix(&catalog, suffix));
    for file in std::iter::once(&catalog).chain(&wals) {
        // By its path: to close a descriptor of the catalog would drop DuckDB's lock.
        let Ok(metadata) = file.metadata() else {
            continue;
        };
        if metadata.mode() & 0o077 != 0 {
            let closed = std::fs::set_permissions(file, PermissionsExt::from_mode(0o600));
            if let Err(error) = closed {
                let file = file.display();
                home.storages.tell(&format!(
                    "warning: cannot close '{file}' to others with chmod 600: {error}"
                ));
            }
        }
    }
}

/// For a reader that found an older catalog: upgrades it, unless somebody else was faster.
///
/// # Errors
/// As [`upgrade`], and those of the lock.
pub(crate) fn upgrade_first(home: &Home, backoff: &mut Backoff) -> Result<()> {
    let cannot = || {
        format!(
            "the catalog is older than this program and cannot be upgraded from here: run any program of bk once where '{}' may be written to",
            home.dir.display()
        )
    };
    let lock = Lock::take(&home.dir, Access::Write, home.program, backoff);
    let _lock = match lock {
        Err(error) if is_forbidden(&error) => return Err(error.context(cannot())),
        lock => lock?,
    };
    privately(|| upgrade(home, backoff))
}

/// Upgrades an older catalog, after a copy of it was put beside it (`catalog.duckdb.v1`).
///
/// # Errors
/// Those of DuckDB and of the disk; the older catalog is then as it was.
pub(crate) fn upgrade(home: &Home, backoff: &mut Backoff) -> Result<()> {
    // The WAL stands beside the name, the file may be elsewhere.
    let catalog = home.catalog().canonicalize()?;
    let session = Session::open(home, &home.catalog(), Access::Write, backoff)?;
    let from = session.version()?;
    if from == NEWEST {
        return Ok(());
    }
    let cannot = || {
        format!(
            "cannot upgrade the catalog '{}' from version {from} to {NEWEST}; it stays as it was",
            catalog.display()
        )
    };
    // What is only in the WAL would not be in the copy.
    session
        .connection
        .execute_batch("CHECKPOINT")
        .with_context(cannot)?;
    drop(session);
    upgrade_file(home, &catalog, from, backoff).with_context(cannot)
}

/// The file holds all of the catalog and is closed.
fn upgrade_file(home: &Home, catalog: &Path, from: i64, backoff: &mut Backoff) -> Result<()> {
    if let Some(wal) = wal_of(&home.catalog()).or_else(|| wal_of(catalog)) {
        bail!("'{}' is still in use", wal.display());
    }
    let old = File::options().read(true).write(true).open(catalog)?;
    lock_foreigners_out(&old, backoff)?;
    let fresh = Fresh::new(catalog)?;
    fresh.fill(&old)?;
    migrate(home, &fresh.path, from, backoff)?;
    let copy = with_suffix(catalog, &format!(".v{from}"));
    let fresh_copy = Fresh::new(&copy)?;
    fresh_copy.fill(&old)?;
    fresh_copy.keep(&copy)?;
    fresh.keep(catalog)
}

/// A foreign DuckDB would go on writing to the old file. Ours opens the new one alone: to close
/// a second descriptor of what it has open would drop its lock.
fn lock_foreigners_out(old: &File, backoff: &mut Backoff) -> Result<()> {
    use rustix::io::Errno;
    while let Err(error) = fcntl_lock(old, FlockOperation::NonBlockingLockExclusive) {
        if !matches!(error, Errno::ACCESS | Errno::AGAIN | Errno::INTR) {
            return Err(io::Error::from(error).into());
        }
        backoff.sleep(|| "another program that has it open in DuckDB".to_owned())?;
    }
    Ok(())
}

/// Applies to a file the migrations after the first `from`; all is in the file itself then.
fn migrate(home: &Home, path: &Path, from: i64, backoff: &mut Backoff) -> Result<()> {
    let session = Session::open(home, path, Access::Write, backoff)?;
    session.transaction(|| {
        for sql in MIGRATIONS.iter().skip(usize::try_from(from)?) {
            session.connection.execute_batch(sql)?;
        }
        session.set_setting("schema_version", &NEWEST.to_string())?;
        if from == 0 {
            return Ok(());
        }
        session.log(&Event {
            backup: None,
            event: "upgrade",
            ok: true,
            details: json!({ "from": from, "to": NEWEST }),
        })
    })?;
    session.connection.execute_batch("CHECKPOINT")?;
    session.close()?;
    ensure!(
        wal_of(path).is_none(),
        "DuckDB left a WAL beside '{}'",
        path.display()
    );
    Ok(())
}

/// A file that is to get its name when it is whole; until then it is removed when dropped.
struct Fresh {
    path: PathBuf,
}

impl Fresh {
    /// For what is to be at `place`; what a dead process left of it goes.
    fn new(place: &Path) -> io::Result<Self> {
        let fresh = Self {
            path: with_suffix(place, ".new"),
        };
        fresh.remove()?;
        Ok(fresh)
    }

    /// Copies a file, for the same owner.
    fn fill(&self, old: &File) -> Result<()> {
        let copy = |mut old: &File| -> io::Result<()> {
            let mut file = make_file(&self.path)?;
            let (owner, made) = (old.metadata()?, file.metadata()?);
            if (owner.uid(), owner.gid()) != (made.uid(), made.gid()) {
                fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
            }
            old.rewind()?;
            io::copy(&mut old, &mut file)?;
            file.sync_all()
        };
        copy(old).with_context(|| format!("cannot write '{}'", self.path.display()))
    }

    /// Gives it its name, to last.
    fn keep(self, place: &Path) -> Result<()> {
        File::open(&self.path)?.sync_all()?;
        std::fs::rename(&self.path, place)
            .with_context(|| format!("cannot make '{}'", place.display()))?;
        sync_dir(dir_of(place))
    }

    fn remove(&self) -> io::Result<()> {
        let wals = WALS.map(|suffix| with_suffix(&self.path, suffix));
        for leftover in std::iter::once(&self.path).chain(&wals) {
            match std::fs::remove_file(leftover) {
                Err(error) if !is_absent(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // What stays is to nobody's use, and removed before the next one is made.
        let _ = self.remove();
    }
}

fn wal_of(file: &Path) -> Option<PathBuf> {
    let wals = WALS.iter().map(|suffix| with_suffix(file, suffix));
    wals.into_iter().find(|wal| wal.symlink_metadata().is_ok())
}

fn is_forbidden(error: &anyhow::Error) -> bool {
    use ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|it| matches!(it.kind(), PermissionDenied | ReadOnlyFilesystem))
}
