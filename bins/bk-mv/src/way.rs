//! A backup that is to move, and how its archive gets to its new place, as far as stat tells.
//!
//! Knows no catalog; whether the record still allows it, `part` decides under the lock.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bk_schema::record::Backup;
use bk_store::archives::advisory_lock::is_same_name;
use bk_store::archives::durable::dir_of;
use bk_store::archives::open::is_absent;
use bk_store::archives::partial::partial_path;
use serde::Serialize;
use serde_json::{Map, Value};

/// One backup that is to move.
#[derive(Debug)]
pub(crate) struct Transfer {
    /// As it was when its archive was inspected; once it has moved, as it is now.
    pub(crate) backup: Backup,
    /// The line that it came by.
    pub(crate) line: Map<String, Value>,
    /// Where its archive is to be, and was.
    pub(crate) to: String,
    pub(crate) from: String,
    pub(crate) way: Way,
    /// How often its record was another one by then.
    pub(crate) tries: u32,
}

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
}

impl Way {
    /// By stat of both places. A missing archive is renamed as far as this goes.
    ///
    /// # Errors
    /// What is in the way, and those of stat(2).
    pub(crate) fn between(from: &Path, to: &Path, device: u64) -> Result<Self> {
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
        let dir = dir_of(to);
        bail!(
            "'{}' is there already, and bk-mv takes no file for the archive: where it is a copy, 'bk-adopt --relink {}' finds it once '{}' is moved aside",
            to.display(),
            dir.display(),
            from.display()
        );
    }

    /// The word that people read.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "is there",
            Self::Rename => "rename",
            Self::Copy => "copy",
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
