//! The name of a new backup: free on disk, which is checked before the catalog is open, and free
//! in the catalog.
//!
//! Reads no source, and knows no archive's content.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bk_archive::format::codec::Codec;
use bk_schema::record::{BackupType, Status, check_new_name};
use bk_store::archives::partial::partial_path;
use bk_store::session::Session;
use jiff::Timestamp;
use serde_json::Value;

use crate::plan::Plan;

/// So many names are offered to a session: others may take some meanwhile.
const CANDIDATES: usize = 8;
/// The version and the source take no more than that of a default name.
const PART_MAX_BYTES: usize = 64;
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
    pub(crate) fn new(plan: &'a Plan<'_>, now: Timestamp, taken: HashSet<String>) -> Self {
        let request = plan.request;
        let given = request.name.clone();
        let default = || {
            let version = request.source_version.as_deref();
            default_name(request.backup_type, version, label(plan), now)
        };
        Self {
            storage: Path::new(&plan.storage),
            codec: plan.compression.codec,
            is_given: given.is_some(),
            wanted: given.unwrap_or_else(default),
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

    /// The name that it would get as far as that can be told without a session.
    ///
    /// # Errors
    /// One that was asked for and is taken.
    pub(crate) fn expected(&self) -> Result<String> {
        let candidates = self.candidates()?;
        let free = candidates.into_iter().find(|name| self.is_free(name));
        free.with_context(|| self.refusal())
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

/// What the backup is of, in a word: its job, or the last part of its only source.
fn label<'a>(plan: &'a Plan<'_>) -> Option<&'a str> {
    let job = plan.request.metadata.get("job").and_then(Value::as_str);
    let sources = plan.sources.recorded.as_array().map(Vec::as_slice);
    let only = match sources {
        Some([only]) => only.as_str(),
        _ => None,
    };
    let last = |path: &'a str| match plan.request.streams.first() {
        Some(stream) => Some(stream.filename.as_str()),
        None => path.rsplit('/').next(),
    };
    job.or_else(|| only.and_then(last))
}

/// `LABEL[_vVERSION]_TIME`; before an upgrade `pre-upgrade[_vVERSION][_LABEL]_TIME`; without a label its
/// type is in its place.
fn default_name(
    backup_type: BackupType,
    version: Option<&str>,
    label: Option<&str>,
    now: Timestamp,
) -> String {
    let version = version.map(part);
    let version = version.map(|it| format!("v{}", it.strip_prefix('v').unwrap_or(&it)));
    let label = label.map(|it| part(it.trim_start_matches(['.', '-'])));
    let label = label.filter(|it| !it.is_empty());
    let time = now.strftime("%Y-%m-%d_%H-%M-%S").to_string();
    let kind = Some(backup_type.name().to_owned());
    let joined = |parts: [Option<String>; 3]| {
        let parts = parts.into_iter().flatten().chain([time.clone()]);
        parts.collect::<Vec<_>>().join("_")
    };
    let plain = joined([kind.clone(), version.clone(), None]);
    let name = match (backup_type, label) {
        (_, None) => return plain,
        (BackupType::PreUpgrade, label) => joined([kind, version, label]),
        (_, label) => joined([label, version, None]),
    };
    // As one that begins like `latest:JOB`.
    check_new_name(&name).map_or(plain, |()| name)
}

/// As much of a text as a name has room for, with what a file name cannot hold replaced.
fn part(text: &str) -> String {
    let fits = |c: char| if c == '/' || c.is_control() { '-' } else { c };
    let mut part = String::new();
    for c in text.chars().map(fits) {
        if part.len() + c.len_utf8() > PART_MAX_BYTES {
            break;
        }
        part.push(c);
    }
    part
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_default_name_says_what_the_backup_is_of_and_is_always_a_name() {
        let now = "2026-11-24T08:05:09Z".parse().unwrap();
        use BackupType::{Automatic, Manual, PreUpgrade};
        let long = "é".repeat(500);
        for (backup_type, version, label, name) in [
            (Manual, None, None, "manual"),
            (Manual, None, Some("app"), "app"),
            (Automatic, Some("1.2"), Some("nightly"), "nightly_v1.2"),
            (PreUpgrade, None, None, "pre-upgrade"),
            (
                PreUpgrade,
                Some("v1.2"),
                Some("app"),
                "pre-upgrade_v1.2_app",
            ),
            (PreUpgrade, Some("a/b\n"), None, "pre-upgrade_va-b-"),
            (Manual, None, Some(".config"), "config"),
            (Manual, None, Some(""), "manual"),
            (Manual, None, Some("latest:x"), "manual"),
            (Manual, None, Some("a\nb"), "a-b"),
        ] {
            let found = default_name(backup_type, version, label, now);
            assert_eq!(found, format!("{name}_2026-11-24_08-05-09"));
        }
        let name = default_name(PreUpgrade, Some(&long), Some(&long), now);
        check_new_name(&format!("{name}_99999")).unwrap();
    }
}
