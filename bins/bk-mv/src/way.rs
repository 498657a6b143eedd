//! How one archive gets to its new place, as far as stat and the bytes tell.
//!
//! Looks without the catalog; whether the record still allows it, `judge` tells under the lock.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bk_archive::hashed;
use bk_schema::at_work::{Held, hold, is_absent, is_same_name};
use bk_schema::record::Backup;
use bk_schema::recovery::partial_path;
use bk_schema::signals::Signals;
use serde::Serialize;

/// How it gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// It is there.
    None,
    /// In the same file system.
    Rename,
    /// Into another one.
    Copy,
    /// A file of that name is there already: only if it has the same bytes, the record may
    /// turn to it.
    Taken,
}

impl Way {
    /// Looks at both places. A missing archive is renamed as far as this goes.
    ///
    /// # Errors
    /// What is in the way, and those of stat(2).
    pub(crate) fn look(from: &Path, to: &Path, device: u64) -> Result<Self> {
        let (Some(here), there) = (stat(from)?, stat(to)?) else {
            return Ok(Self::Rename);
        };
        let Some(there) = there else {
            let way = if here.dev() == device {
                Self::Rename
            } else {
                Self::Copy
            };
            let partial = partial_path(to);
            ensure!(
                way == Self::Rename || stat(&partial)?.is_none(),
                "'{}' is in the way: remove it, if nobody writes it",
                partial.display()
            );
            return Ok(way);
        };
        if (here.dev(), here.ino()) == (there.dev(), there.ino()) && is_same_name(from, to)? {
            return Ok(Self::None);
        }
        Ok(Self::Taken)
    }

    /// The word that people read.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "is there",
            Self::Rename => "rename",
            Self::Copy => "copy",
            Self::Taken => "taken",
        }
    }
}

fn stat(path: &Path) -> Result<Option<std::fs::Metadata>> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("'{}'", path.display())),
    }
}

/// Takes the file that is in the new place, once its bytes are those of the record. `None` where
/// it is the archive itself by another name, which is taken with that.
///
/// # Errors
/// Another file, one that somebody is at work on, a signal, and those of the file system.
pub(crate) fn take(backup: &Backup, to: &Path, signals: &Signals) -> Result<Option<Held>> {
    let shown = to.display();
    let here = stat(Path::new(&backup.backup_path))?;
    let there = stat(to)?.with_context(|| format!("'{shown}' was there and is gone"))?;
    if here.is_some_and(|it| (it.dev(), it.ino()) == (there.dev(), there.ino())) {
        return Ok(None);
    }
    let another = || format!("'{shown}' is there already, and is another file");
    let size = backup.backup_size.and_then(|size| u64::try_from(size).ok());
    ensure!(there.is_file() && size == Some(there.len()), another());
    let held = hold(to).with_context(|| format!("'{shown}'"))?;
    let held = held.with_context(|| format!("'{shown}' was there and is gone"))?;
    match hash(&held, signals).with_context(|| format!("'{shown}'"))? {
        None => bail!("interrupted"),
        Some(hash) => ensure!(Some(hash) == backup.backup_hash, another()),
    }
    Ok(Some(held))
}

/// The SHA-256 of what is held; `None` after a signal.
///
/// # Errors
/// Those of read(2).
pub(crate) fn hash(held: &Held, signals: &Signals) -> io::Result<Option<String>> {
    let go_on = &mut |_| signals.caught().is_none();
    let whole = hashed::whole(held.file().try_clone()?, go_on)?;
    Ok(whole.map(|whole| whole.hash))
}
