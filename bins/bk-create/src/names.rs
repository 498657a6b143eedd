//! The name of a new backup: free on disk, which is checked before the catalog is open, and free
//! in the catalog.
//!
//! Knows no source and no archive's content.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, ensure};
use bk_archive::format::codec::Codec;
use bk_schema::record::Status;
use bk_store::archives::partial::partial_path;
use bk_store::session::Session;
use jiff::Timestamp;

use crate::request::Request;

/// So many names are offered to a session: others may take some meanwhile.
const CANDIDATES: usize = 8;
const NUMBERS: std::ops::Range<u32> = 2..100_000;

/// The name that was asked for, or the default one with `_2` and so on where that is taken.
pub(crate) struct Names<'a> {
    storage: &'a Path,
    codec: Codec,
    wanted: String,
    is_given: bool,
    /// Names of records, and paths of their archives.
    taken: HashSet<String>,
}

impl<'a> Names<'a> {
    /// `taken` are names and paths of records that are known already; a session finds the rest.
    pub(crate) fn new(
        request: &Request,
        codec: Codec,
        storage: &'a Path,
        now: Timestamp,
        taken: HashSet<String>,
    ) -> Self {
        let given = request.name.clone();
        Self {
            storage,
            codec,
            is_given: given.is_some(),
            wanted: given.unwrap_or_else(|| request.default_name(now)),
            taken,
        }
    }

    fn archive(&self, name: &str) -> String {
        let ending = self.codec.ending();
        let archive = self.storage.join(format!("{name}{ending}"));
        archive.to_string_lossy().into_owned()
    }

    /// Whether neither a known record nor its archive has the name.
    fn is_free(&self, name: &str) -> bool {
        !self.taken.contains(name) && !self.taken.contains(&self.archive(name))
    }

    /// Names that no file has; a session chooses the first of them that no record has.
    ///
    /// # Errors
    /// The name that was asked for is taken, or all numbers are.
    pub(crate) fn candidates(&self) -> Result<Vec<String>> {
        let on_disk = |path: &Path| path.symlink_metadata().is_ok();
        // What an abandoned attempt left does not keep its name: the session removes it, or reports
        // that another process is at work on it.
        if self.is_given {
            let archive = self.archive(&self.wanted);
            ensure!(!on_disk(Path::new(&archive)), self.refusal());
            return Ok(vec![self.wanted.clone()]);
        }
        let has_no_file = |name: &String| {
            let archive = self.archive(name);
            !on_disk(Path::new(&archive)) && !on_disk(&partial_path(Path::new(&archive)))
        };
        let numbered = NUMBERS.map(|number| format!("{}_{number}", self.wanted));
        let names = std::iter::once(self.wanted.clone()).chain(numbered);
        let free = names.filter(|name| self.is_free(name)).filter(has_no_file);
        let free: Vec<_> = free.take(CANDIDATES).collect();
        ensure!(
            !free.is_empty(),
            "cannot create '{}': the name and all numbers after it are taken",
            self.wanted
        );
        Ok(free)
    }

    /// For an estimate, which asks no session: a name that was asked for is not taken.
    ///
    /// # Errors
    /// It is.
    pub(crate) fn check(&self) -> Result<()> {
        let candidates = self.candidates()?;
        let is_free = candidates.iter().any(|name| self.is_free(name));
        ensure!(is_free, self.refusal());
        Ok(())
    }

    /// The first of these that no record has; `None` where records took all of them meanwhile,
    /// and there are to be other candidates.
    ///
    /// # Errors
    /// A name that was asked for and is taken.
    pub(crate) fn choose(
        &mut self,
        session: &Session<'_>,
        candidates: &[String],
    ) -> Result<Option<String>> {
        if self.is_given {
            make_room(session, &self.wanted)?;
        }
        // The archive's own path begins so, and those with a number.
        let begin = self.storage.join(&self.wanted);
        let (names, paths) = session.taken_beginning(&self.wanted, &begin.to_string_lossy())?;
        self.taken = names.into_iter().chain(paths).collect();
        let free = candidates.iter().find(|name| self.is_free(name)).cloned();
        ensure!(free.is_some() || !self.is_given, self.refusal());
        Ok(free)
    }

    fn refusal(&self) -> String {
        format!(
            "cannot create '{}': the name is taken, by a backup or by a file in '{}'",
            self.wanted,
            self.storage.display()
        )
    }
}

/// Removes the record of a failed attempt of that name; the ledger keeps its history.
fn make_room(session: &Session<'_>, name: &str) -> Result<()> {
    let is_failed = |backup: &bk_schema::record::Backup| backup.status == Status::Failed;
    let Some(failed) = session.named(name)?.filter(is_failed) else {
        return Ok(());
    };
    session.check_room()?;
    let reason = "a failed attempt, replaced by the next one";
    session.remove_attempt(failed.id, name, reason)
}
