//! The parent of a backup: an earlier one of the same sources, of which the archive and the manifest are
//! as they were written.
//!
//! Reads no source and changes nothing.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bk_archive::format::entry::FileTime;
use bk_archive::hashed;
use bk_archive::write::parent::{self, Rules};
use bk_schema::record::Backup;
use bk_store::archives::open::{is_absent, open};
use bk_store::home::Home;
use bk_store::manifest::reader::Reader;

use crate::flags::{Choice, Settings};

/// What changed so shortly before a backup may have changed again in the same tick of the clock.
const UNSURE: Duration = Duration::from_secs(2);

/// A parent that can be used.
pub(crate) struct Parent {
    pub(crate) name: String,
    file: File,
    reader: Reader,
    rules: Rules,
}

impl Parent {
    /// Opens the archive and the manifest of a backup; `None` where there is no manifest that can be of
    /// use for such an archive.
    ///
    /// # Errors
    /// Why one of them is not what it should be.
    pub(crate) fn open(
        home: &Home,
        backup: &Backup,
        format: &str,
        settings: &Settings,
    ) -> Result<Option<Self>> {
        let hash = backup.backup_hash.as_deref().unwrap_or_default();
        let manifest_hash = backup.backup_metadata.get("manifest_hash");
        let Some(manifest_hash) = manifest_hash.and_then(serde_json::Value::as_str) else {
            return Ok(None);
        };
        // Before the manifest, which takes longer to open: many archives may be missing.
        let cannot = || format!("cannot read '{}'", backup.backup_path);
        let file = match open(backup, hashed::open) {
            Err(error) if is_absent(&error) => return Ok(None),
            opened => opened.with_context(cannot)?,
        };
        let Some(reader) = Reader::open(home, hash, Some(manifest_hash))? else {
            return Ok(None);
        };
        if reader.format() != Some(format) {
            return Ok(None);
        }
        let bytes = file.metadata().with_context(cannot)?.len();
        ensure!(
            Some(bytes) == backup.backup_size,
            "'{}' has {bytes} bytes, which is not its size",
            backup.backup_path
        );
        Ok(Some(Self {
            name: backup.backup_name.clone(),
            file,
            reader,
            rules: Rules {
                unsure_from: unsure_from(backup),
                ignore_inode: settings.ignore_inode,
                ignore_ctime: settings.ignore_ctime,
            },
        }))
    }

    /// For the writer of an archive.
    pub(crate) fn into_source(mut self) -> parent::Parent<'static> {
        parent::Parent {
            file: self.file,
            segments: Box::new(move || self.reader.next_segment()),
            rules: self.rules,
        }
    }
}

/// What changed then or later may not be as a backup has it.
pub(crate) fn unsure_from(backup: &Backup) -> FileTime {
    let unsure = backup.created_at - UNSURE;
    FileTime {
        secs: unsure.as_second(),
        nanos: unsure.subsec_nanosecond().unsigned_abs(),
    }
}

/// The parent of a backup that is made now. `candidates` are the completed backups of the same sources,
/// newest first. `warn` gets why one is not used.
///
/// # Errors
/// One that is asked for, and is none of them.
pub(crate) fn choose<'b>(
    home: &Home,
    settings: &Settings,
    mut candidates: impl Iterator<Item = &'b Backup>,
    format: &str,
    warn: &dyn Fn(&str),
) -> Result<Option<Parent>> {
    let refuse = |backup: &Backup, error: &anyhow::Error| {
        let name = &backup.backup_name;
        warn(&format!(
            "warning: '{name}' cannot be the parent: {error:#}"
        ));
    };
    let is_usable = |backup: &Backup| {
        let opened = Parent::open(home, backup, format, settings);
        opened
            .inspect_err(|error| refuse(backup, error))
            .ok()
            .flatten()
    };
    match &settings.parent {
        Choice::None => Ok(None),
        Choice::Newest => {
            // One of a time to come was made by a wrong clock.
            let mut past = candidates.filter(|it| it.created_at <= home.now);
            Ok(past.find_map(is_usable))
        }
        Choice::This(wanted) => {
            let Some(backup) = candidates.find(|it| settings.parent.admits(it)) else {
                bail!(
                    "'{wanted}' cannot be the parent: it is no completed backup of the same sources under the same names"
                );
            };
            let opened = Parent::open(home, backup, format, settings);
            let unlike = "it has another compression, or its archive or its manifest is missing";
            let opened = opened.and_then(|it| it.context(unlike));
            Ok(opened.inspect_err(|error| refuse(backup, error)).ok())
        }
    }
}
