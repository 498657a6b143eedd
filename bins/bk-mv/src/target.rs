//! The directory that archives are moved to, and what it has room for.
//!
//! Knows no catalog.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bk_cli::units::human_size;
use bk_cli::{UsageError, usage};
use bk_schema::record::Backup;
use bk_store::archives::space::Space;

/// An absolute directory, which may not be there yet.
pub(crate) struct Target {
    pub(crate) dir: PathBuf,
    /// The same.
    pub(crate) text: String,
    reserve_bytes: Option<u64>,
}

impl Target {
    /// # Errors
    /// A usage error: a path that a record cannot hold, or that leads nowhere.
    pub(crate) fn new(given: &OsStr, reserve_bytes: Option<u64>) -> Result<Self> {
        let shown = given.display().to_string();
        let dir = resolve(Path::new(given))
            .with_context(|| format!("'{shown}'"))
            .map_err(|e| usage(&e, "no directory"))?;
        let text = dir.to_str().map(str::to_owned).ok_or_else(|| {
            let dir = dir.display();
            UsageError(format!(
                "the directory '{dir}' is not UTF-8: the paths in the catalog are text"
            ))
        })?;
        Ok(Self {
            dir,
            text,
            reserve_bytes,
        })
    }

    /// Where the archive of a record is to be: it keeps its file name.
    pub(crate) fn path_of(&self, backup: &Backup) -> String {
        let name = Path::new(&backup.backup_path).file_name();
        let name = name.unwrap_or_default().to_string_lossy();
        format!("{}/{name}", self.text.trim_end_matches('/'))
    }

    /// The device of its file system, or of where it would be made.
    pub(crate) fn device(&self) -> io::Result<u64> {
        let existing = self.dir.ancestors().find(|it| it.exists());
        Ok(existing.unwrap_or(&self.dir).metadata()?.dev())
    }

    /// # Errors
    /// So many archives, of so many bytes together, that do not fit; with the figures.
    pub(crate) fn check_space(&self, count: usize, bytes: u64) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let Some(space) = Space::at(&self.dir)? else {
            return Ok(());
        };
        let reserve_bytes = self.reserve_bytes;
        let reserve_bytes = reserve_bytes.unwrap_or_else(|| space.default_reserve());
        ensure!(
            bytes.saturating_add(reserve_bytes) <= space.available_bytes,
            "{} to be copied and {} to stay free there, but '{}' has {} free; make space, move fewer, or say what is to stay free with --reserve",
            match count {
                1 => format!("{} is", human_size(bytes)),
                _ => format!("{count} archives, {}, are", human_size(bytes)),
            },
            human_size(reserve_bytes),
            self.text,
            human_size(space.available_bytes)
        );
        Ok(())
    }
}

/// Absolute, with symbolic links as they are named: `/srv/backups` is often one that is to point
/// to another disk later. Only what leads upwards is looked up, as `..` behind a link does not
/// go where it seems to.
fn resolve(dir: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(dir)?;
    let components: Vec<_> = absolute.components().collect();
    let last_up = components
        .iter()
        .rposition(|it| *it == Component::ParentDir);
    let Some(last_up) = last_up else {
        return Ok(components.iter().collect());
    };
    let (up, down) = components.split_at(last_up + 1);
    let mut resolved = up.iter().collect::<PathBuf>().canonicalize()?;
    resolved.extend(down);
    Ok(resolved)
}
