//! Which backups are compared, and their entries.
//!
//! The catalog is closed before the first manifest is read. Knows no change.

use std::ffi::OsString;

use anyhow::{Context, Result, bail};
use bk_archive::read::survey::survey;
use bk_archive::{hashed, threads};
use bk_cli::{UsageError, operands};
use bk_schema::host::Host;
use bk_schema::manifest::Segment;
use bk_schema::record::{Backup, Status};
use bk_store::archives::open::open;
use bk_store::manifest::FROM_ARCHIVE;
use bk_store::manifest::reader::Reader;
use bk_store::{Home, catalog};

use crate::flags::PROGRAM;
use crate::join::Entries;
use crate::live::Live;

/// What is compared.
pub(crate) struct Sides {
    pub(crate) old: Backup,
    pub(crate) new: New,
}

/// The newer side.
pub(crate) enum New {
    Backup(Box<Backup>),
    Live(Box<Live>),
}

impl New {
    pub(crate) fn backup(&self) -> Option<&Backup> {
        match self {
            Self::Backup(backup) => Some(backup),
            Self::Live(_) => None,
        }
    }
}

impl Sides {
    /// Finds the backups that are named, and the one before where a single one is.
    ///
    /// # Errors
    /// [`UsageError`] for as many as cannot be compared; a backup that is not there, or not completed.
    pub(crate) fn find(home: &Home, named: &[OsString], is_live: bool) -> Result<Self> {
        match (named.len(), is_live) {
            (1, _) | (2, false) => {}
            (0, _) => bail!(UsageError("no backup given to compare".into())),
            (_, true) => bail!(UsageError("--live takes one backup".into())),
            (_, false) => bail!(UsageError("more than two backups given".into())),
        }
        if named.iter().any(|it| it == "-") {
            bail!(UsageError(
                "standard input is not read: give ids or names".into()
            ));
        }
        let lines = operands::parse_all(named)?;
        let (found, all, here) = catalog::read(home, |session| {
            let all = session.backups()?.into_iter().flatten().collect::<Vec<_>>();
            Ok((session.found(Some(lines))?, all, session.host()?))
        })?;
        let mut found = found.into_iter().map(|it| check(it?.0));
        let first = found.next().context("no backup")??;
        if is_live {
            if let Some(host) = here.of(&first).filter(|host| *host != here.name) {
                let name = &first.backup_name;
                PROGRAM.warn(&format!("warning: '{name}' was made on '{host}'"));
            }
            let cannot = || format!("cannot compare '{}' with its sources", first.backup_name);
            let live = Live::new(home, &first, &all).with_context(cannot)?;
            return Ok(Self {
                old: first,
                new: New::Live(Box::new(live)),
            });
        }
        let (old, new) = match found.next() {
            Some(second) => (first, second?),
            None => (before(&first, all, &here)?, first),
        };
        Ok(Self {
            old,
            new: New::Backup(Box::new(new)),
        })
    }

    /// The backups among them.
    pub(crate) fn backups(&self) -> impl Iterator<Item = &Backup> {
        [Some(&self.old), self.new.backup()].into_iter().flatten()
    }
}

fn check(backup: Backup) -> Result<Backup> {
    match backup.status.obstacle() {
        Some(obstacle) => bail!("cannot compare '{}': {obstacle}", backup.backup_name),
        None => Ok(backup),
    }
}

/// The newest completed backup of the same sources that is older.
fn before(backup: &Backup, all: Vec<Backup>, here: &Host) -> Result<Backup> {
    let age = |it: &Backup| (it.created_at, it.id);
    let origin = here.origin(backup);
    let older = all.into_iter().filter(|it| {
        let is_older = it.status == Status::Completed && age(it) < age(backup);
        is_older && origin.is_some() && here.origin(it) == origin
    });
    older.max_by_key(age).with_context(|| {
        let name = &backup.backup_name;
        format!("there is no earlier backup of the same sources, host and names as '{name}' to compare it with")
    })
}

/// Whether its manifest was written with the archive. One that was made from it tells no inodes.
pub(crate) fn knows_inodes(home: &Home, backup: &Backup) -> bool {
    let hash = backup.backup_metadata.get("manifest_hash");
    let archive_hash = backup.backup_hash.as_deref().unwrap_or_default();
    let own = hash
        .and_then(|it| it.as_str())
        .map(|hash| Reader::open(home, archive_hash, Some(hash)));
    own.is_some_and(|own| {
        own.is_ok_and(|own| own.is_some_and(|it| it.format() != Some(FROM_ARCHIVE)))
    })
}

/// The entries of a backup by its manifest, which is there.
///
/// # Errors
/// A manifest that is damaged or was removed meanwhile.
pub(crate) fn entries<'a>(home: &Home, backup: &Backup) -> Result<Entries<'a>> {
    let archive_hash = backup.backup_hash.as_deref().unwrap_or_default();
    let hash = backup.backup_metadata.get("manifest_hash");
    let hash = hash.and_then(|it| it.as_str());
    let own = Reader::open(home, archive_hash, hash)?;
    let reader = match own {
        Some(reader) => Some(reader),
        // One that was made anew from the archive.
        None => Reader::open(home, archive_hash, None)?,
    };
    let mut reader =
        reader.with_context(|| format!("the manifest of '{}' is gone", backup.backup_name))?;
    let mut segment = Vec::new().into_iter();
    Ok(Box::new(move || {
        loop {
            if let Some(entry) = segment.next() {
                return Ok(Some(entry));
            }
            match reader.next_segment()? {
                Some(next) => segment = next.entries.into_iter(),
                None => return Ok(None),
            }
        }
    }))
}

/// Reads an archive to its end, for the manifest of one that has none.
pub(crate) fn read(backup: &Backup, add: &mut dyn FnMut(Segment)) -> Result<(String, u64)> {
    let file = open(backup, hashed::open)?;
    let whole = survey(&file, threads::available(), add, &|| false)?;
    Ok((whole.hash, whole.bytes))
}
