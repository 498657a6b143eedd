//! The row of a backup in the catalog: `creating`, then `completed` or `failed`, each change with
//! its event.
//!
//! Reads no source and writes no archive.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, absolute};

use anyhow::{Context, Error, Result, anyhow, ensure};
use bk_archive::format::header::COMMENT_MAX_BYTES;
use bk_archive::write::writer::Summary;
use bk_cli::one_line;
use bk_cli::output::base64;
use bk_schema::birth::Birth;
use bk_schema::event::Event;
use bk_schema::host;
use bk_schema::metadata::SHRUNK;
use bk_schema::record::{Backup, Status};
use bk_store::archives::partial::Partial;
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::lock::Timeout;
use bk_store::session::Session;
use bk_store::signals::Signals;
use bk_store::storage::Storage;
use serde_json::{Map, Value, json};

use crate::command::Run;
use crate::flags::PROGRAM;
use crate::names::Names;
use crate::plan::Plan;
use crate::request::{Request, Stream};
use crate::sources::lossy;
use crate::watch::Problems;

/// So many sources are told of a refusal: a list of them may be long, and each run that fails adds to
/// the ledger.
const SOURCES_TOLD: usize = 100;

/// A backup whose row is `creating`. The lock on its partial shows recovery that this process is
/// at work on it.
pub(crate) struct Begun {
    pub(crate) backup: Backup,
    pub(crate) partial: Partial,
}

/// What came of an attempt to add a row.
enum Added {
    Row(Box<Backup>),
    /// Others took the names meanwhile.
    NoName,
    /// The storage directory that is set is no longer the one of the plan.
    StorageMoved,
}

/// Writes rows and events.
pub(crate) struct Rows {
    pub(crate) home: Home,
    pub(crate) signals: Signals,
}

impl Rows {
    /// Chooses the name and adds the row; `None` where the storage directory is no longer the
    /// one of the plan. `taken` are names and paths of records that are known already.
    ///
    /// # Errors
    /// A name that is taken, a partial that cannot be made, the catalog. All are recorded.
    pub(crate) fn begin(
        &self,
        plan: &Plan<'_>,
        storage: Option<&Storage>,
        taken: HashSet<String>,
    ) -> Result<Option<Begun>> {
        let begun = self.add_named(plan, storage, taken);
        let begun = begun.inspect_err(|error| self.log_refusal(plan.request, error))?;
        let Some((backup, partial)) = begun else {
            return Ok(None);
        };
        match partial {
            Ok(partial) => Ok(Some(Begun { backup, partial })),
            Err(error) => Err(self.fail(backup, None, error, &Problems::default())),
        }
    }

    fn add_named(
        &self,
        plan: &Plan<'_>,
        storage: Option<&Storage>,
        taken: HashSet<String>,
    ) -> Result<Option<(Backup, Result<Partial>)>> {
        let mut names = Names::new(plan, self.home.now, taken);
        loop {
            let candidates = names.candidates()?;
            let add = |session: &Session<'_>| {
                self.add(session, plan, storage, |session| {
                    names.choose(session, &candidates)
                })
            };
            // The partial is made and locked before another process can see the row, which it
            // would take for an abandoned one otherwise.
            let added = catalog::write_then(&self.home, add, |added| {
                let partial = match &added {
                    Added::Row(backup) => Some(Partial::make(Path::new(&backup.backup_path))),
                    Added::NoName | Added::StorageMoved => None,
                };
                Ok((added, partial))
            })?;
            match added {
                (Added::Row(backup), Some(partial)) => return Ok(Some((*backup, partial))),
                (Added::StorageMoved, _) => return Ok(None),
                _ => {}
            }
        }
    }

    fn add(
        &self,
        session: &Session<'_>,
        plan: &Plan<'_>,
        storage: Option<&Storage>,
        choose: impl FnOnce(&Session<'_>) -> Result<Option<String>>,
    ) -> Result<Added> {
        self.signals.hold();
        let is_default = plan.settings.storage.is_none();
        if is_default && absolute(session.storage_dir()?)? != Path::new(&plan.storage) {
            return Ok(Added::StorageMoved);
        }
        let Some(name) = choose(session)? else {
            return Ok(Added::NoName);
        };
        let backup = self.creating(plan, name, session.host()?.name)?;
        storage.iter().try_for_each(|it| session.keep_storage(it))?;
        session.insert(&backup).map(|it| Added::Row(Box::new(it)))
    }

    /// The record of a backup that is begun.
    ///
    /// # Errors
    /// More facts than an archive can carry.
    pub(crate) fn creating(&self, plan: &Plan<'_>, name: String, host: String) -> Result<Backup> {
        let request = plan.request;
        let backup = Backup {
            backup_path: format!("{}/{name}{}", plan.storage, plan.compression.codec.ending()),
            backup_name: name,
            backup_type: request.backup_type,
            source_version: request.source_version.clone(),
            compression_type: plan.compression.codec.name().into(),
            description: request.description.clone(),
            backup_metadata: metadata(plan, host),
            protected: request.protected,
            created_at: self.home.now,
            expires_at: request.expires_at,
            ..Backup::default()
        };
        ensure!(
            Birth::of(&backup, PROGRAM.name).to_comment()?.len() <= COMMENT_MAX_BYTES,
            "cannot create '{}': its sources, description and metadata are longer than {COMMENT_MAX_BYTES} bytes; back up a directory, with excludes, instead of many paths",
            backup.backup_name
        );
        Ok(backup)
    }

    /// Makes the row `completed`. The partial stays locked until then.
    ///
    /// # Errors
    /// A catalog that cannot be written to; the archive is whole all the same.
    pub(crate) fn complete(
        &self,
        begun: Begun,
        summary: &Summary,
        problems: &Problems,
        seconds: f64,
    ) -> Result<Backup> {
        let mut backup = begun.backup;
        backup.status = Status::Completed;
        backup.backup_size = Some(summary.archive_bytes);
        backup.file_count = Some(summary.file_count);
        backup.backup_hash = Some(summary.hash.clone());
        let metadata = &mut backup.backup_metadata;
        metadata.insert("content_bytes".into(), summary.content_bytes.into());
        metadata.insert("new_bytes".into(), summary.new_bytes.into());
        problems.put(metadata);
        let mut details = json!({
            "seconds": seconds,
            "bytes": summary.archive_bytes,
            "content_bytes": summary.content_bytes,
            "new_bytes": summary.new_bytes,
            "file_count": summary.file_count,
        });
        problems.log(&mut details);
        if let Some(held_against) = metadata.get(SHRUNK) {
            details[SHRUNK] = held_against.clone();
        }
        let written = catalog::write(&self.home, |session| {
            session.update(&backup)?;
            session.log(&event(Some(&backup), backup.job(), true, details))
        });
        written.with_context(|| {
            format!(
                "cannot record '{}': its archive '{}' is whole, bk-adopt takes it into the catalog",
                backup.backup_name, backup.backup_path
            )
        })?;
        Ok(backup)
    }

    /// Makes the row `failed` and returns the error to report. Where the catalog cannot be
    /// written to, recovery makes the row `failed` later.
    pub(crate) fn fail(
        &self,
        mut backup: Backup,
        partial: Option<Partial>,
        error: Error,
        problems: &Problems,
    ) -> Error {
        let error = match self.signals.caught() {
            Some(signal) => anyhow!("interrupted by signal {signal}"),
            None => error,
        };
        if let Some(partial) = &partial {
            partial.abandon();
        }
        let reason = one_line(&format!("{error:#}"));
        backup.status = Status::Failed;
        let metadata = &mut backup.backup_metadata;
        metadata.insert("failure".into(), reason.clone().into());
        problems.put(metadata);
        let mut details = json!({ "reason": reason });
        if problems.count > 0 {
            problems.log(&mut details);
        }
        let recorded = catalog::write(&self.home, |session| {
            if let Some(partial) = &partial {
                partial.remove();
            }
            session.update(&backup)?;
            session.log(&event(Some(&backup), backup.job(), false, details))
        });
        if let Err(error) = recorded {
            PROGRAM.warn(&format!("cannot record the failure: {error:#}"));
        }
        error.context(format!("cannot create '{}'", backup.backup_name))
    }

    /// Adds the event of a failure that came before there was a row.
    pub(crate) fn log_refusal(&self, request: &Request, error: &Error) {
        self.signals.release();
        // Who waited for the catalog in vain need not wait again.
        if !self.home.has_catalog() || error.is::<Timeout>() {
            return;
        }
        let job = request.metadata.get("job").and_then(Value::as_str);
        let details = json!({
            "reason": one_line(&format!("{error:#}")),
            "sources": request.told().take(SOURCES_TOLD).collect::<Vec<_>>(),
        });
        // Where even that fails, the refusal itself is what people need to read.
        let _ = catalog::write(&self.home, |session| {
            session.log(&event(None, job, false, details))
        });
    }
}

/// The metadata at the birth of a backup.
fn metadata(plan: &Plan<'_>, host: String) -> Map<String, Value> {
    let (request, sources) = (plan.request, &plan.sources);
    let mut metadata = request.metadata.clone();
    metadata.insert("sources".into(), sources.recorded.clone());
    let paths = &sources.origins;
    if paths.iter().any(|path| path.to_str().is_none()) {
        let encoded = paths.iter().map(|path| base64(path.as_os_str().as_bytes()));
        metadata.insert("sources_base64".into(), encoded.collect());
    }
    metadata.insert("source_entries".into(), lossy(&sources.names).into());
    put_streams(&request.streams, &mut metadata);
    metadata.insert(host::KEY.into(), host.into());
    if request.has_paths() {
        request.excludes.put(&mut metadata);
        let unmatched = plan.unmatched.all();
        if !unmatched.is_empty() {
            metadata.insert("unmatched_excludes".into(), unmatched.into());
        }
    }
    if plan.hides_attributes {
        metadata.insert("unseen_attributes".into(), json!(["trusted"]));
    }
    metadata
}

/// Of commands the first word alone: the others may hold passwords.
fn put_streams(streams: &[Stream], metadata: &mut Map<String, Value>) {
    let mut commands = Map::new();
    for stream in streams {
        let first = stream.command.as_ref().map(Run::first_word);
        if stream.is_alone {
            metadata.insert("stdin_filename".into(), stream.filename.clone().into());
            metadata.extend(first.map(|first| ("command".to_owned(), first.into())));
        } else if let Some(first) = first {
            commands.insert(stream.filename.clone(), first.into());
        }
    }
    if !commands.is_empty() {
        metadata.insert("commands".into(), commands.into());
    }
}

fn event<'a>(
    backup: Option<&'a Backup>,
    job: Option<&str>,
    ok: bool,
    mut details: Value,
) -> Event<'a> {
    if let Some(job) = job {
        details["job"] = job.into();
    }
    Event {
        backup: backup.map(|it| (it.id, it.backup_name.as_str())),
        event: "create",
        ok,
        details,
    }
}
