//! One restoration of files: brings the manifest, reads the members that hold the files, joins these to a small
//! archive, and unpacks that.
//!
//! Knows neither the command line nor the ledger.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use bk_archive::accounts::Ids;
use bk_archive::read::seek;
use bk_archive::restore::attributes::{Owners, Rights};
use bk_archive::restore::extract::{Extracted, Observer, Plan, extract};
use bk_archive::restore::names::Selection;
use bk_archive::restore::print::print;
use bk_archive::restore::stage::in_tree;
use bk_archive::threads;
use bk_cli::entries::Told;
use bk_cli::usage;
use bk_offsite::failure::kind;
use bk_offsite::sidecars::Keys;
use bk_remote::{Kind, Place};
use bk_schema::copy::BackupCopy;
use bk_schema::record::Backup;
use bk_store::archives::space::Space;
use bk_store::manifest::FROM_ARCHIVE;
use bk_store::manifest::reader::Reader;
use bk_store::manifest::writer::keep;
use serde_json::Value;

use crate::fetch::Limited;
use crate::object::Fetch;
use crate::ranges::Ranges;
use crate::rules::{Rules, is_encrypted};
use crate::selected::{Piece, Selected};
use crate::unpack::Target;
use crate::watch::Watch;

/// What is restored of so few bytes is not refused as a bomb.
const HARMLESS_BYTES: u64 = 64 << 20;
/// Content compresses to a two-hundredth at best, but for a bomb's.
const RATIO_MAX: u64 = 200;
/// More threads would cost memory and gain no speed.
const JOBS_MAX: usize = 4;

/// One backup of which files are wanted.
pub(crate) struct Work<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) place: &'a dyn Place,
    pub(crate) backup: &'a Backup,
    pub(crate) copy: BackupCopy,
    pub(crate) wanted: &'a Wanted,
    pub(crate) watch: &'a Watch,
}

/// Which of its entries.
pub(crate) struct Wanted {
    selection: Selection,
    /// By lines, each on its own; none where globs tell.
    told: Vec<Told>,
}

/// What was restored.
#[derive(Default)]
pub(crate) struct Outcome {
    /// `None` where it was printed.
    pub(crate) target: Option<PathBuf>,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// Of the object and of what lies beside it.
    pub(crate) read_bytes: u64,
    /// What could not be made, or is not held.
    pub(crate) failed_count: u64,
    /// Entries and attributes of such that were left out.
    pub(crate) skipped_count: u64,
}

impl Wanted {
    /// # Errors
    /// A path or a glob that is none.
    pub(crate) fn new(told: Vec<Told>, globs: &[&str]) -> Result<Self> {
        let paths = told.iter().map(|it| (it.path.as_bytes(), !it.is_alone));
        let selection = match globs {
            [] => Selection::of_entries(paths).map_err(|e| usage(&e, "bad input")),
            globs => Selection::new(&[], globs).map_err(|e| usage(&e, "--path")),
        };
        Ok(Self {
            selection: selection?,
            told,
        })
    }
}

impl Work<'_> {
    /// # Errors
    /// Whatever keeps all of it from being restored; nothing is, then.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let target = self.rules.dir.as_deref();
        let target = target.map(|dir| Target::new(dir, self.backup.id));
        let target = target.transpose()?;
        let manifest_bytes = self.bring_manifest()?;
        let size = self.backup.backup_size.unwrap_or_default();
        let selected = Selected::of(&|| self.manifest(), &self.wanted.selection, size)?;
        let absent_count = self.check(&selected, target.is_none())?;
        let spool_dir = target
            .as_ref()
            .map_or_else(scratch, |it| it.stage.path.clone());
        let (archive, read_bytes) = self.join(&selected, &spool_dir)?;
        let read_bytes = manifest_bytes + read_bytes;
        let Some(target) = target else {
            // A bar would stand in the middle of the file on a terminal.
            self.watch.progress.end();
            let path = selected.files.first().context("no file is selected")?;
            let bytes = print(&archive, false, jobs(), path, self.watch)?;
            return Ok(Outcome {
                entries: 1,
                bytes,
                read_bytes,
                ..Outcome::default()
            });
        };
        let done = self.unpack(&archive, &target)?;
        target.place(&done, self.watch)?;
        Ok(Outcome {
            target: Some(target.path.clone()),
            entries: done.entries,
            bytes: done.bytes,
            read_bytes,
            failed_count: done.failed_count + absent_count,
            skipped_count: self.watch.skipped_count(),
        })
    }

    fn archive_hash(&self) -> &str {
        self.backup.backup_hash.as_deref().unwrap_or_default()
    }

    fn manifest_hash(&self) -> Option<&str> {
        self.backup.backup_metadata.get("manifest_hash")?.as_str()
    }

    /// The manifest in the home, from its beginning.
    fn manifest(&self) -> Result<Reader> {
        let home = &self.rules.home;
        let reader = Reader::open(home, self.archive_hash(), self.manifest_hash())?;
        let reader = reader.filter(|it| it.format() != Some(FROM_ARCHIVE));
        reader.context("there is no manifest that tells where in the archive its files are")
    }

    /// Brings the manifest into the home, where there is none that can be used; how many bytes it has.
    fn bring_manifest(&self) -> Result<u64> {
        if self.manifest().is_ok() {
            return Ok(0);
        }
        // Else who may write there could say what is in the archive.
        let hash = self.manifest_hash().with_context(|| {
            format!(
                "there is no manifest here, and its record does not tell the hash of the one there; {}",
                self.way_out()
            )
        })?;
        let key = Keys::of_archive(&self.copy.object_key).manifest;
        let fetch = Fetch {
            place: self.place,
            location: &self.rules.location,
            progress: &self.watch.progress,
            identities: self.rules.identities.as_ref(),
        };
        let (home, mut bytes) = (&self.rules.home, None);
        let kept = keep(home, self.archive_hash(), hash, |file| {
            // Its size is told by nobody, and the home holds the catalog.
            let free_bytes = Space::of(&*file)?.map_or(u64::MAX, |it| it.available_bytes);
            let mut limited = Limited {
                to: &mut *file,
                left_bytes: free_bytes / 2,
            };
            let got = fetch.object(&key, is_encrypted(&self.copy), &mut limited);
            got.map_err(|error| self.lacks_manifest(error))?;
            bytes = Some(file.metadata()?.len());
            Ok(())
        });
        let location = &self.rules.location;
        let is_of_it = bytes.is_some();
        kept.map_err(|error| match is_of_it {
            true => error.context(format!("cannot use '{key}' at '{location}'")),
            false => error,
        })?;
        // One that was made from an archive tells no places.
        let manifest = self.manifest();
        manifest.map_err(|error| anyhow!("{error:#}; {}", self.way_out()))?;
        Ok(bytes.unwrap_or_default())
    }

    fn lacks_manifest(&self, error: Error) -> Error {
        if kind(&error) != Some(Kind::NotFound) {
            return error;
        }
        match self.place.list_dirs("") {
            Err(error) => error.into(),
            Ok(_) => anyhow!("it has no manifest, here or there; {}", self.way_out()),
        }
    }

    fn way_out(&self) -> String {
        let (location, id) = (&self.rules.location, self.backup.id);
        format!("'bk-pull {location} {id}' brings it whole, and bk-restore restores files of it")
    }

    /// # Errors
    /// Nothing that is selected, or for `--stdout` more than one file. How many paths of lines are not held.
    fn check(&self, selected: &Selected, to_stdout: bool) -> Result<u64> {
        let is_absent = |(number, _): &(usize, &Told)| !selected.met.contains(number);
        let told = self.wanted.told.iter().enumerate();
        let absent: Vec<_> = told
            .filter(is_absent)
            .map(|(_, it)| it.path.display())
            .collect();
        let globs: Vec<_> = self.wanted.selection.unmatched().collect();
        let has_members = selected.pieces.len() > 2;
        ensure!(
            has_members,
            "the backup holds nothing that is selected: 'bk-ls --files' lists what it holds"
        );
        for path in &absent {
            let text = format!("warning: the backup holds no '{path}'");
            self.watch.progress.warn(&text);
        }
        for glob in globs {
            let glob = glob.escape_debug();
            let text = format!("warning: --path '{glob}' matched nothing");
            self.watch.progress.warn(&text);
        }
        match selected.files.len() {
            _ if !to_stdout => {}
            0 => bail!("--stdout prints a file, and none is selected"),
            1 => {}
            _ => bail!("--stdout prints one file, and several are selected"),
        }
        Ok(absent.len() as u64)
    }

    /// Reads what is needed, and joins it in a file without a name; and how many bytes of the object that took.
    fn join(&self, selected: &Selected, dir: &Path) -> Result<(File, u64)> {
        let cannot = || format!("cannot write a temporary file in '{}'", dir.display());
        let mut archive = tempfile::tempfile_in(dir).with_context(cannot)?;
        let (key, location) = (&self.copy.object_key, &self.rules.location);
        let identities = self.rules.identities.as_ref();
        let identities = identities.filter(|_| is_encrypted(&self.copy));
        let object_bytes = self.copy.size.unwrap_or_default();
        let told = || format!("cannot read '{key}' at '{location}'");
        let keys = identities.map(|(keys, _)| keys);
        let mut ranges = Ranges::open(self.place, key, object_bytes, keys).with_context(told)?;
        let total = selected.pieces.iter().map(|it| it.bytes).sum();
        self.watch.progress.begin(total, "read");
        let mut edges = tempfile::tempfile_in(dir).with_context(cannot)?;
        for request in selected.requests() {
            let (Some(first), Some(last)) = (request.first(), request.last()) else {
                continue;
            };
            ensure!(!self.watch.is_stopped(), "interrupted");
            let length = last.offset + last.bytes - first.offset;
            let bytes = ranges.read(first.offset, length)?;
            for piece in request {
                let at = usize::try_from(piece.offset - first.offset)?;
                let bytes = &bytes[at..at + usize::try_from(piece.bytes)?];
                self.check_piece(piece, bytes)?;
                if piece.hash.is_none() {
                    edges.write_all(bytes).with_context(cannot)?;
                    let is_begin = piece.offset == 0;
                    let edge = if is_begin { "begin" } else { "end" };
                    let is_bare = is_bare(&edges, is_begin)
                        .with_context(|| format!("{}: its {edge} is damaged", told()))?;
                    ensure!(is_bare, "{}: its {edge} holds more than it should", told());
                }
                archive.write_all(bytes).with_context(cannot)?;
                self.watch.progress.add(piece.bytes);
            }
        }
        Ok((archive, ranges.read_bytes()))
    }

    fn check_piece(&self, piece: &Piece, bytes: &[u8]) -> Result<()> {
        let is_so = piece.hash.is_none_or(|hash| blake3::hash(bytes) == hash);
        let (key, location) = (&self.copy.object_key, &self.rules.location);
        ensure!(
            is_so,
            "'{key}' at '{location}' is damaged: its bytes from {} on are not those of its manifest: 'bk-push --check --read 100% {location} {}' tells and records that",
            piece.offset,
            self.backup.id
        );
        Ok(())
    }

    fn unpack(&self, archive: &File, target: &Target) -> Result<Extracted> {
        let is_root = rustix::process::geteuid().is_root();
        let owners = match is_root {
            true => Owners::ByName,
            false => Owners::Left,
        };
        let rights = Rights {
            owners,
            ids: Ids::of_this_machine(),
            devices: false,
            privileged: is_root,
        };
        let selection = &self.wanted.selection;
        let place = |name: &[u8]| selection.takes(name, |_| {}).then(|| in_tree(name));
        let plan = Plan {
            place: &place,
            ranges: None,
            rights: &rights,
            limit: self.limit(archive.metadata()?.len()),
            dir_mode: target.stage.dir_mode,
            salvages: false,
            jobs: jobs(),
        };
        let done = extract(archive, &target.stage.dir, &plan, self.watch)?;
        ensure!(done.entries > 0, "none of its entries can be made");
        Ok(done)
    }

    /// The limit of the content, and the error where there is more.
    fn limit(&self, archive_bytes: u64) -> (u64, String) {
        let recorded = self.backup.backup_metadata.get("content_bytes");
        let recorded = recorded.and_then(Value::as_u64).unwrap_or_default();
        let limit = archive_bytes.saturating_mul(RATIO_MAX).max(HARMLESS_BYTES);
        let text = format!(
            "the archive holds more than {RATIO_MAX} times its size, as a bomb does; {}",
            self.way_out()
        );
        (limit.max(recorded.saturating_mul(2)), text)
    }
}

/// Whether the edges of an archive, of which the manifest knows nothing, hold no entry: the begin is to be the birth
/// facts alone, and with the end behind it an archive of nothing.
fn is_bare(edges: &File, is_begin: bool) -> Result<bool> {
    if is_begin {
        let mut begin = edges.try_clone()?;
        let end = begin.stream_position()?;
        begin.rewind()?;
        let is_alone = seek::is_birth_alone(begin)?;
        (&mut &*edges).seek(SeekFrom::Start(end))?;
        return Ok(is_alone);
    }
    let mut all = seek::read(edges, None, 1, &|| false)?;
    Ok(all.next_entry()?.is_none())
}

fn jobs() -> usize {
    threads::available().min(JOBS_MAX)
}

/// What is wanted may be large, and /tmp in memory.
fn scratch() -> PathBuf {
    let given = std::env::var_os("TMPDIR").filter(|dir| !dir.is_empty());
    given.map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}
