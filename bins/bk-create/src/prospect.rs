//! What is known of a backup before a byte is written: its sources, its size, the space for it.
//!
//! Makes nothing, and knows no record but those of earlier backups.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bk_archive::write::walk::Source;
use bk_cli::units::human_size;
use bk_schema::moving::Move;
use bk_schema::record::{Backup, Status};
use bk_store::archives::partial::partial_path;
use bk_store::archives::space::Space;
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::storage::MARKER;
use serde_json::{Value, json};

use crate::estimate::{Earlier, Estimate, Totals};
use crate::flags::{PROGRAM, Settings};
use crate::request::Request;
use crate::sources::{self, Given};
use crate::unseen;

/// What is known before a byte is written.
pub(crate) struct Prospect {
    pub(crate) given: Vec<Given>,
    pub(crate) totals: Totals,
    pub(crate) estimate: Estimate,
    pub(crate) storage: PathBuf,
    /// What the catalog has in the storage.
    pub(crate) archives: Vec<String>,
    /// Globs that met nothing, by their numbers.
    pub(crate) unmatched: Vec<usize>,
    /// Whether attributes are hidden from this process, and whether an earlier backup of the
    /// same sources tells that already.
    pub(crate) hides_attributes: bool,
    pub(crate) is_told_hidden: bool,
}

/// What the catalog tells before anything is looked at.
pub(crate) struct Known {
    pub(crate) storage_dir: PathBuf,
    backups: Vec<Backup>,
}

impl Known {
    /// Nothing is known where there is no catalog yet.
    pub(crate) fn read(home: &Home) -> Result<Self> {
        if !home.has_catalog() {
            return Ok(Self {
                storage_dir: home.archives(),
                backups: Vec::new(),
            });
        }
        catalog::read(home, |session| {
            Ok(Self {
                storage_dir: session.storage_dir()?,
                backups: session.backups()?.into_iter().flatten().collect(),
            })
        })
    }
}

impl Known {
    /// One more.
    pub(crate) fn add(&mut self, backup: &Backup) {
        self.backups.push(backup.clone());
    }

    /// The names of all records and the places of their archives.
    pub(crate) fn taken(&self) -> HashSet<String> {
        let both = |it: &Backup| [it.backup_name.clone(), it.backup_path.clone()];
        self.backups.iter().flat_map(both).collect()
    }

    /// Whether the newest backup of these sources tells that attributes were hidden.
    fn tells_hidden(&self, sources: &Value) -> bool {
        let mut backups = self.backups.iter().rev();
        let newest = backups.find(|it| {
            it.status == Status::Completed && it.backup_metadata.get("sources") == Some(sources)
        });
        newest.is_some_and(|it| it.backup_metadata.contains_key("unseen_attributes"))
    }

    /// The names of all archives, finished or not, and of what marks a storage, by device and
    /// inode of their directory: another way to the same directory leads to them, too.
    fn archives(&self) -> HashMap<(u64, u64), HashSet<OsString>> {
        let mut by_dir: HashMap<PathBuf, HashSet<OsString>> = HashMap::new();
        let has_archive = |backup: &&Backup| backup.status != Status::Failed;
        for backup in self.backups.iter().filter(has_archive) {
            let other = Move::of(backup).map(|(Move::To(path) | Move::From(path))| path);
            for path in [backup.backup_path.clone()].into_iter().chain(other) {
                let archive = PathBuf::from(path);
                let (Some(dir), Some(name)) = (archive.parent(), archive.file_name()) else {
                    continue;
                };
                let partial = partial_path(Path::new(name)).into_os_string();
                let names = by_dir.entry(dir.to_owned()).or_default();
                names.extend([name.to_owned(), partial, MARKER.into()]);
            }
        }
        // Two ways to one directory are one place.
        let mut by_inode: HashMap<_, HashSet<OsString>> = HashMap::new();
        for (dir, names) in by_dir {
            if let Ok(metadata) = dir.metadata() {
                by_inode.entry(inode(&metadata)).or_default().extend(names);
            }
        }
        by_inode
    }
}

impl Prospect {
    /// Finds the sources, counts them and compares with what is free.
    pub(crate) fn look(
        home: &Home,
        known: &Known,
        settings: &mut Settings,
        request: &Request,
    ) -> Result<Self> {
        let (storage, storage_text) = storage(settings, known)?;
        settings.filter.own = own_directories(home, &storage);
        settings.filter.own_files = known.archives();
        let given = sources::find(&request.sources, settings.base.as_deref(), &settings.filter)?;
        let names = given.iter().map(|given| given.source.name.clone());
        settings.filter.other_sources = names.collect();
        for link in given.iter().filter(|given| sources::is_link(given)) {
            let path = link.source.path.display();
            PROGRAM.warn(&format!(
                "warning: '{path}' is a symbolic link and stored as one: '{path}/' backs up what it points to"
            ));
        }
        let names = match &request.stream {
            Some(stream) => json!([format!("stdin:{}", stream.filename)]),
            None => Value::from(lossy(given.iter().map(|given| given.absolute.as_path()))),
        };
        let earlier = Earlier::among(&known.backups, &names);
        let sources: Vec<Source> = given.iter().map(|given| given.source.clone()).collect();
        let sample_level = earlier.is_none().then_some(settings.level);
        settings.filter.excludes().reset();
        let totals = Totals::count(&sources, &settings.filter, sample_level)?;
        let unmatched = settings.filter.excludes().unmatched().collect();
        let is_told_hidden = known.tells_hidden(&names);

        let space = Space::at(&storage)?;
        let reserve_bytes = settings.reserve_bytes;
        let default = || space.map_or(0, Space::default_reserve);
        let reserve_bytes = reserve_bytes.unwrap_or_else(default);
        let estimated_size = totals.archive_bytes(earlier);
        let estimate = Estimate {
            sources: names,
            file_count: totals.file_count,
            content_bytes: totals.content_bytes,
            estimated_size,
            estimated_from: if earlier.is_some() {
                "earlier backup"
            } else {
                "sample"
            },
            storage: storage_text,
            available_bytes: space.map(|it| it.available_bytes),
            reserve_bytes,
            passed: request.passed.clone(),
            fits: space.is_none_or(|it| {
                estimated_size.saturating_add(reserve_bytes) <= it.available_bytes
            }),
        };
        Ok(Self {
            given,
            totals,
            estimate,
            archives: archives_in(&storage, &known.backups),
            storage,
            unmatched,
            hides_attributes: request.stream.is_none() && unseen::are_hidden(),
            is_told_hidden,
        })
    }
}

/// The storage directory, absolute, and as a record can tell it.
fn storage(settings: &Settings, known: &Known) -> Result<(PathBuf, String)> {
    let storage = settings.storage.as_ref().unwrap_or(&known.storage_dir);
    let storage = std::path::absolute(storage)
        .with_context(|| format!("cannot find the storage directory '{}'", storage.display()))?;
    let text = storage.to_str().map(str::to_owned);
    let text = text.with_context(|| {
        format!(
            "the storage directory '{}' is not UTF-8: the paths in the catalog are text; name another with --storage",
            storage.display()
        )
    })?;
    Ok((storage, text))
}

fn archives_in(storage: &Path, backups: &[Backup]) -> Vec<String> {
    let completed = backups.iter().filter(|it| it.status == Status::Completed);
    let paths = completed.rev().map(|it| &it.backup_path);
    let is_in = |path: &&String| Path::new(path).parent() == Some(storage);
    paths.filter(is_in).cloned().collect()
}

impl Estimate {
    /// # Errors
    /// An archive that does not fit, with both figures.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(
            self.fits,
            "cannot back up: the archive needs about {} and {} are to stay free, but '{}' has {} free; make space, or name another --storage",
            human_size(self.estimated_size),
            human_size(self.reserve_bytes),
            self.storage,
            self.available()
        );
        Ok(())
    }

    fn available(&self) -> String {
        let size = self.available_bytes.map(human_size);
        size.unwrap_or_else(|| "an unknown size".to_owned())
    }

    pub(crate) fn for_people(&self) -> String {
        format!(
            "files      {}\ncontent    {}\narchive    about {} (from {})\nstorage    {}\nfree       {}, of which {} are to stay so\nfits       {}\n",
            self.file_count,
            human_size(self.content_bytes),
            human_size(self.estimated_size),
            if self.estimated_from == "sample" {
                "a sample of the data"
            } else {
                "an earlier backup"
            },
            self.storage,
            self.available(),
            human_size(self.reserve_bytes),
            if self.fits { "yes" } else { "no" },
        )
    }
}

/// Where bk keeps what it has, as far as that is there yet, by device and inode.
pub(crate) fn own_directories(home: &Home, storage: &Path) -> HashSet<(u64, u64)> {
    let there = [&home.dir, storage].map(|dir| dir.metadata().ok());
    there.iter().flatten().map(inode).collect()
}

fn inode(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Paths for a record, which is UTF-8.
pub(crate) fn lossy<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<String> {
    paths
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}
