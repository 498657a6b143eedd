//! The sources of a backup as they are now.
//!
//! Walks them as bk-create does, and leaves out what it left out. Reads no content.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bk_archive::write::filter::Filter;
use bk_archive::write::live;
use bk_archive::write::problem::{Problem, ProblemKind};
use bk_archive::write::walk::Source;
use bk_cli::output::from_base64;
use bk_schema::excludes::Excludes;
use bk_schema::manifest::EntryType;
use bk_schema::record::Backup;
use bk_store::archives::durable::dir_of;
use bk_store::home::Home;
use bk_store::own;
use serde_json::Value;

use crate::join::Entries;

/// How the record tells that something came through a pipe.
const STREAM: &[u8] = b"stdin:";

/// The sources of one backup.
pub(crate) struct Live {
    sources: Vec<Source>,
    /// Names of what came from commands.
    streams: Vec<PathBuf>,
    filter: Filter,
    problems: RefCell<Vec<Problem>>,
}

impl Live {
    /// `all` are the backups whose archives are bk's own.
    ///
    /// # Errors
    /// A backup whose sources are not known, or were streams alone.
    pub(crate) fn new(home: &Home, backup: &Backup, all: &[Backup]) -> Result<Self> {
        let metadata = &backup.backup_metadata;
        let texts = |key: &str| {
            let all = metadata.get(key).and_then(Value::as_array);
            let texts = all.into_iter().flatten().filter_map(Value::as_str);
            texts.collect::<Vec<_>>()
        };
        let encoded = texts("sources_base64").into_iter().map(from_base64);
        let mut paths = encoded
            .map(|path| Ok(PathBuf::from(std::ffi::OsString::from_vec(path?))))
            .collect::<Result<Vec<_>>>()?;
        if paths.is_empty() {
            paths = texts("sources").into_iter().map(PathBuf::from).collect();
        }
        let names = texts("source_entries");
        if paths.is_empty() || paths.len() != names.len() {
            bail!("its record does not tell its sources");
        }
        let is_stream = |it: &(PathBuf, &str)| it.0.as_os_str().as_bytes().starts_with(STREAM);
        let (streams, paths): (Vec<_>, Vec<_>) = paths.into_iter().zip(names).partition(is_stream);
        if paths.is_empty() {
            bail!("it is of what came through a pipe, which is gone");
        }
        let sources: Vec<_> = paths
            .into_iter()
            .map(|(path, text)| Source {
                name: name(text, &path),
                path,
            })
            .collect();
        let filter = Filter::new(&Excludes::of(metadata));
        let mut filter = filter.context("its record has a glob that cannot be used")?;
        filter.own = own::dirs(home, dir_of(Path::new(&backup.backup_path)));
        filter.own_files = own::archive_names(all);
        filter.other_sources = sources.iter().map(|it| it.name.clone()).collect();
        Ok(Self {
            sources,
            streams: streams.into_iter().map(|it| it.1.into()).collect(),
            filter,
            problems: RefCell::default(),
        })
    }

    /// Follows the sources that are symbolic links where the backup followed them, of which `entries`
    /// are what it holds.
    ///
    /// # Errors
    /// Those of `entries`.
    pub(crate) fn follow_links(&mut self, mut entries: Entries<'_>) -> Result<()> {
        let mut links: Vec<_> = self
            .sources
            .iter_mut()
            .filter(|it| it.path.is_symlink())
            .collect();
        while !links.is_empty() {
            let Some(entry) = entries()? else { break };
            if entry.entry_type != EntryType::Directory {
                continue;
            }
            for link in &mut links {
                if link.name.as_os_str().as_bytes() == entry.path {
                    // A slash at the end.
                    link.path.push("");
                }
            }
        }
        Ok(())
    }

    /// What a backup would hold now.
    pub(crate) fn entries(&self) -> Entries<'_> {
        let mut entries = live::entries(&self.sources, &self.filter);
        Box::new(move || {
            loop {
                match entries.next() {
                    Some(Err(problem)) => self.problems.borrow_mut().push(problem),
                    found => return Ok(found.and_then(Result::ok)),
                }
            }
        })
    }

    /// What could not be looked at, with its name. What vanished is no longer there.
    pub(crate) fn problems(&self) -> Vec<(Vec<u8>, Problem)> {
        let problems = self.problems.borrow();
        let known = problems
            .iter()
            .filter(|it| it.kind != ProblemKind::Vanished);
        let named = known.map(|it| (self.name_of(&it.path).unwrap_or_default(), it.clone()));
        named.collect()
    }

    /// What came from commands, as people read it; `None` where nothing did.
    pub(crate) fn streams(&self) -> Option<String> {
        let names = self.streams.iter().map(|it| format!("'{}'", it.display()));
        let names: Vec<_> = names.collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Whether an entry came from a command, of which there is nothing to look at.
    pub(crate) fn is_stream(&self, name: &[u8]) -> bool {
        let name = Path::new(OsStr::from_bytes(name));
        self.streams.iter().any(|stream| stream == name)
    }

    /// Where an entry is.
    pub(crate) fn path_of(&self, name: &[u8]) -> Option<PathBuf> {
        let name = Path::new(OsStr::from_bytes(name));
        // The source that is nested most is the one that holds it.
        let within = |it: &&Source| name.starts_with(&it.name);
        let source = self.sources.iter().filter(within);
        let source = source.max_by_key(|it| it.name.as_os_str().len())?;
        let rest = name.strip_prefix(&source.name).ok()?;
        // To join nothing would add a slash, which follows links.
        Some(match rest.as_os_str().is_empty() {
            true => source.path.clone(),
            false => source.path.join(rest),
        })
    }

    fn name_of(&self, path: &Path) -> Option<Vec<u8>> {
        let sources = self.sources.iter();
        let within = sources.filter(|it| path.starts_with(&it.path));
        let source = within.max_by_key(|it| it.path.as_os_str().len())?;
        let rest = path.strip_prefix(&source.path).ok()?;
        let name = match rest.as_os_str().is_empty() {
            true => source.name.clone(),
            false => source.name.join(rest),
        };
        Some(name.into_os_string().into_vec())
    }
}

/// The name of a source in the archive. The record has it as text; where that is not all of it, it is
/// the end of the path.
fn name(text: &str, path: &Path) -> PathBuf {
    let count = Path::new(text).components().count();
    let parts: Vec<_> = path.components().collect();
    match text.contains(char::REPLACEMENT_CHARACTER) && parts.len() >= count {
        true => parts[parts.len() - count..].iter().collect(),
        false => text.into(),
    }
}
