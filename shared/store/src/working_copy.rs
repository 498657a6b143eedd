//! A catalog whose path holds a question mark or is not UTF-8. DuckDB takes the one for the begin of
//! parameters, as in a URL, and puts its WAL elsewhere; the other stands in no SQL. It resolves every
//! link, so no other name of the file helps. What is to be written is written to a copy in a place of its own, and the whole copy
//! takes the catalog's place when the session is closed.
//!
//! Called with the catalog locked. Knows no SQL.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::archives::durable::{dir_of, make_file, sync_dir, with_suffix};
use crate::archives::open::is_absent;

/// Whether DuckDB takes the path for another one, or for none.
pub(crate) fn is_needed(path: &Path) -> bool {
    path.to_str().is_none_or(|path| path.contains('?'))
}

/// A WAL beside a catalog that was moved there with it would not be read.
fn check_wal(catalog: &Path) -> Result<()> {
    let wal = with_suffix(catalog, ".wal");
    ensure!(
        wal.symlink_metadata().is_err(),
        "'{}' cannot be read where the path holds a '?' or is not UTF-8: move the home to another path, run bk-ls there, and move it back",
        wal.display()
    );
    Ok(())
}

/// The copy; it goes when it is dropped.
pub(crate) struct WorkingCopy {
    dir: PathBuf,
    original: PathBuf,
}

impl WorkingCopy {
    /// Of a catalog that may not be there yet.
    pub(crate) fn of(catalog: &Path) -> Result<Self> {
        check_wal(catalog)?;
        let cannot = || format!("cannot make a copy of '{}' to work on", catalog.display());
        let copy = Self {
            dir: make_dir().with_context(cannot)?,
            original: catalog.to_owned(),
        };
        match File::open(catalog) {
            Err(error) if is_absent(&error) => Ok(copy),
            opened => {
                let filled = opened.and_then(|mut file| fill(&mut file, &copy.path()));
                filled.map(|_| copy).with_context(cannot)
            }
        }
    }

    /// What is to be opened.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join("catalog.duckdb")
    }

    /// Puts what was written, all of which is in the file, into the original's place, to last.
    ///
    /// # Errors
    /// Those of the file system; the original is then as it was.
    pub(crate) fn put_back(&self) -> Result<()> {
        let cannot = || format!("cannot write the catalog '{}'", self.original.display());
        let fresh = with_suffix(&self.original, ".changed");
        let put = || -> io::Result<()> {
            // Left by a process that was killed.
            let _ = std::fs::remove_file(&fresh);
            let file = fill(&mut File::open(self.path())?, &fresh)?;
            // Root may write to the catalog of another user, who is to have it still.
            if let Ok(owner) = self.original.metadata() {
                fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
            }
            file.sync_all()?;
            std::fs::rename(&fresh, &self.original)
        };
        put()
            .inspect_err(|_| {
                // The first error is the one to tell.
                let _ = std::fs::remove_file(&fresh);
            })
            .with_context(cannot)?;
        sync_dir(dir_of(&self.original))
    }
}

impl Drop for WorkingCopy {
    fn drop(&mut self) {
        // In a place for what is temporary.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn fill(from: &mut File, to: &Path) -> io::Result<File> {
    let mut file = make_file(to)?;
    io::copy(from, &mut file)?;
    Ok(file)
}

/// A directory of our own, in the first place that there is for one.
fn make_dir() -> io::Result<PathBuf> {
    let places = ["/tmp", "/var/tmp", "/dev/shm"].map(PathBuf::from);
    let mut last = io::Error::from(ErrorKind::NotFound);
    for place in std::iter::once(std::env::temp_dir()).chain(places) {
        let dir = place.join(format!("bk-catalog-{}", std::process::id()));
        if is_needed(&dir) {
            continue;
        }
        // As only a dead process can have left: the numbers come again.
        let _ = std::fs::remove_dir_all(&dir);
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) => last = error,
        }
    }
    Err(last)
}
