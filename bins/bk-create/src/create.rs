//! Makes backups: estimate, record, archive, record.
//!
//! The catalog is open twice and briefly for each backup, and never while a source, the archive
//! or a pipe is touched.

use std::collections::HashSet;
use std::path::{Path, PathBuf, absolute};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bk_archive::format::header::COMMENT_MAX_BYTES;
use bk_archive::write::writer::Summary;
use bk_cli::Arguments;
use bk_cli::home;
use bk_cli::listing::{self, Listed};
use bk_cli::notices::{Notices, Priority};
use bk_cli::output::Output;
use bk_schema::birth::Birth;
use bk_schema::clock;
use bk_schema::event::Event;
use bk_schema::host;
use bk_schema::record::{Backup, BackupType, Status};
use bk_store::archives::partial::Partial;
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::lock::Timeout;
use bk_store::session::Session;
use bk_store::signals::{Signals, ended_by};
use bk_store::storage::Storage;
use serde_json::json;

use crate::facts::{completed, metadata};
use crate::flags::{ESTIMATE, HOST, PROGRAM, Settings};
use crate::names::Names;
use crate::prospect::{Known, Prospect, lossy, own_directories};
use crate::request::{Request, requests};
use crate::watch::{Problems, Watch};
use crate::writing::Writing;

/// Exit status: the backup was made, but something of the source could not be read.
const SOME_UNREAD: u8 = 3;

/// The whole program.
///
/// # Errors
/// Mistakes on the command line and bad input; what concerns one backup is told and counted.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let now = clock::now();
    let home = home::from_arguments(&PROGRAM, arguments, now)?;
    let mut output = Output::new(arguments)?;
    let mut creation = Creation {
        settings: Settings::new(arguments)?,
        signals: Signals::watch()?,
        home: Home {
            host: arguments.parsed(&HOST, host::parse)?.or(home.host),
            ..home
        },
        known: None,
        unmatched: None,
        is_told_hidden: false,
    };
    let requests = requests(arguments, now)?;
    let mut notices = Notices::new(&PROGRAM, arguments);
    let (mut made, mut status) = (Vec::new(), bk_cli::SUCCESS);
    for request in requests {
        let done = if arguments.has(&ESTIMATE) {
            let told = creation.estimate(&request, &mut output);
            told.map(|()| bk_cli::SUCCESS)
        } else {
            let created = notices.log_error(creation.create(&request));
            created.and_then(|(listed, is_loss)| {
                notices.log(priority(is_loss), &notice(&listed.backup, is_loss));
                if output.is_table() {
                    made.push(listed);
                } else {
                    output.line(&listed)?;
                    output.flush()?;
                }
                Ok(if is_loss {
                    SOME_UNREAD
                } else {
                    bk_cli::SUCCESS
                })
            })
        };
        match done {
            Ok(unread) if status == bk_cli::SUCCESS => status = unread,
            Ok(_) => {}
            Err(error) => {
                status = PROGRAM.report(&error);
                if error.is::<Timeout>() {
                    break;
                }
            }
        }
        if let Some(signal) = creation.signals.caught() {
            status = ended_by(signal);
            break;
        }
    }
    creation.tell_unmet();
    if !made.is_empty() {
        listing::print(&mut output, made)?;
    }
    Ok(status)
}

fn priority(is_loss: bool) -> Priority {
    if is_loss {
        Priority::Warning
    } else {
        Priority::Ok
    }
}

fn notice(backup: &Backup, is_loss: bool) -> String {
    let unread = if is_loss {
        "; something of the sources could not be read"
    } else {
        ""
    };
    format!(
        "created '{}' (id {}), {} bytes, {} files{unread}",
        backup.backup_name,
        backup.id,
        backup.backup_size.unwrap_or_default(),
        backup.file_count.unwrap_or_default()
    )
}

/// What every request of this process shares.
struct Creation {
    settings: Settings,
    signals: Signals,
    home: Home,
    /// What the catalog told, and what was made since: it is read once, however many requests.
    known: Option<Known>,
    /// The globs that met nothing in any of the requests that people made by hand.
    unmatched: Option<Vec<usize>>,
    is_told_hidden: bool,
}

impl Creation {
    fn look(&mut self, request: &Request) -> Result<Prospect> {
        let known = match self.known.take() {
            Some(known) => known,
            None => Known::read(&self.home)?,
        };
        let looked = Prospect::look(&self.home, &known, &mut self.settings, request);
        self.known = Some(known);
        let prospect = looked?;
        if request.stream.is_none() && request.backup_type != BackupType::Automatic {
            let unmatched = self
                .unmatched
                .take()
                .unwrap_or_else(|| prospect.unmatched.clone());
            let both = unmatched
                .into_iter()
                .filter(|it| prospect.unmatched.contains(it));
            self.unmatched = Some(both.collect());
        }
        Ok(prospect)
    }

    /// A glob that meets nothing is often one that was meant otherwise. Of what runs by itself,
    /// the record tells it.
    fn tell_unmet(&self) {
        let excludes = self.settings.filter.excludes();
        let unmatched = self.unmatched.iter().flatten();
        let unmatched: Vec<_> = unmatched
            .map(|number| format!("'{}'", excludes.text(*number)))
            .collect();
        if !unmatched.is_empty() {
            PROGRAM.warn(&format!(
                "warning: --exclude {} matched nothing",
                unmatched.join(", ")
            ));
        }
    }

    fn estimate(&mut self, request: &Request, output: &mut Output) -> Result<()> {
        ensure!(
            request.stream.is_none(),
            "cannot estimate what a command prints: it has no size before"
        );
        let prospect = self.look(request)?;
        if !self.settings.init_storage {
            let archives = prospect.archives.iter().map(String::as_str);
            let storages = &self.home.storages;
            storages.check_before(&prospect.storage, archives)?;
        }
        let estimate = &prospect.estimate;
        if output.is_table() {
            output.text(&estimate.for_people())?;
        } else {
            output.line(estimate)?;
        }
        output.flush()
    }

    /// Makes one backup; the ledger keeps a failure that comes before there is a record.
    fn create(&mut self, request: &Request) -> Result<(Listed, bool)> {
        let begun = self.look(request).and_then(|prospect| {
            prospect.estimate.check()?;
            let archives = prospect.archives.iter().map(String::as_str);
            let storages = &self.home.storages;
            let storage =
                storages.enter(&prospect.storage, archives, self.settings.init_storage)?;
            let begun = self.begin(request, &prospect, storage)?;
            Ok((prospect, begun))
        });
        let begun = match begun {
            // The storage directory is another one since the catalog was read.
            Err(error) if error.is::<Moved>() => {
                self.known = None;
                self.signals.release();
                return self.create(request);
            }
            begun => begun,
        };
        let (prospect, (begun, partial)) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                self.signals.release();
                // Who waited for the catalog in vain need not wait again.
                if self.home.has_catalog() && !error.is::<Timeout>() {
                    self.log_refusal(request, &error);
                }
                return Err(error);
            }
        };
        self.settings.filter.own = own_directories(&self.home, &prospect.storage);
        let made = self.make(request, begun, partial, &prospect);
        self.signals.release();
        let (backup, is_loss) = made?;
        if let Some(known) = &mut self.known {
            known.add(&backup);
        }
        let mut listed = Listed::stat(&self.home, backup);
        listed.pass_through(request.passed.clone());
        Ok((listed, is_loss))
    }

    /// Writes the archive of a record that is begun, and records how that went.
    fn make(
        &mut self,
        request: &Request,
        begun: Backup,
        partial: Result<Partial>,
        prospect: &Prospect,
    ) -> Result<(Backup, bool)> {
        let name = begun.backup_name.clone();
        let began = Instant::now();
        let watch = Watch::new(&PROGRAM, self.signals.clone());
        match &request.stream {
            Some(_) => watch.begin_unsized(),
            None => watch.begin(prospect.totals.content_bytes, prospect.totals.file_count),
        }
        if prospect.hides_attributes && !prospect.is_told_hidden && !self.is_told_hidden {
            self.is_told_hidden = true;
            watch.warn("warning: without CAP_SYS_ADMIN attributes of the name space 'trusted' are not seen, and not backed up");
        }
        let mut partial = partial;
        let written = match &mut partial {
            Ok(partial) => {
                let writing = Writing {
                    settings: &self.settings,
                    request,
                    backup: &begun,
                    prospect,
                    watch: &watch,
                };
                writing.write(partial)
            }
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        let problems = watch.end();
        let seconds = began.elapsed().as_secs_f64();
        // The partial stays locked until its fate is recorded.
        match written {
            Ok(summary) => {
                let backup = completed(begun, &summary, &problems);
                self.complete(&backup, &summary, &problems, seconds)
                    .with_context(|| {
                        format!(
                            "cannot record '{name}': its archive '{}' is whole, bk-adopt takes it into the catalog",
                            backup.backup_path
                        )
                    })?;
                Ok((backup, problems.loss_count > 0))
            }
            Err(error) => {
                let error = match self.signals.caught() {
                    Some(signal) => anyhow::anyhow!("interrupted by signal {signal}"),
                    None => error,
                };
                self.fail(begun, partial.ok(), &error, &problems);
                Err(error.context(format!("cannot create '{name}'")))
            }
        }
    }

    /// Chooses the name and adds the row `creating`. Where others take names meanwhile, it looks
    /// for more.
    fn begin(
        &self,
        request: &Request,
        prospect: &Prospect,
        storage: Option<Storage>,
    ) -> Result<(Backup, Result<Partial>)> {
        let taken = match &request.name {
            None => self.known.as_ref().map(Known::taken).unwrap_or_default(),
            Some(_) => HashSet::new(),
        };
        let mut names = Names::new(request, &prospect.storage, self.home.now, taken);
        loop {
            let candidates = names.look()?;
            let begun = self.insert(request, prospect, storage.as_ref(), |session| {
                names.choose(session, &candidates)
            })?;
            if let Some(begun) = begun {
                return Ok(begun);
            }
        }
    }

    /// Adds the row; its partial is made and locked before another process can see the row, which
    /// would else take it for one of the dead. `None` where there is no name for it.
    fn insert(
        &self,
        request: &Request,
        prospect: &Prospect,
        storage: Option<&Storage>,
        choose: impl FnOnce(&Session<'_>) -> Result<Option<String>>,
    ) -> Result<Option<(Backup, Result<Partial>)>> {
        let insert = |session: &Session<'_>| {
            self.signals.hold();
            let is_moved = self.settings.storage.is_none()
                && absolute(session.storage_dir()?)? != prospect.storage;
            if is_moved {
                return Err(Moved.into());
            }
            let Some(name) = choose(session)? else {
                return Ok(None);
            };
            let backup = self.record(request, prospect, name, session.host()?.name);
            ensure!(
                Birth::of(&backup, PROGRAM.name).to_comment()?.len() <= COMMENT_MAX_BYTES,
                "cannot create '{}': its description and metadata are longer than {COMMENT_MAX_BYTES} bytes",
                backup.backup_name
            );
            storage.iter().try_for_each(|it| session.keep_storage(it))?;
            session.insert(&backup).map(Some)
        };
        catalog::write_then(&self.home, insert, |backup| {
            Ok(backup.map(|backup| {
                let partial = Partial::make(Path::new(&backup.backup_path));
                (backup, partial)
            }))
        })
    }

    fn record(&self, request: &Request, prospect: &Prospect, name: String, host: String) -> Backup {
        Backup {
            id: 0,
            backup_path: format!("{}/{name}.tar.gz", prospect.estimate.storage),
            backup_name: name,
            backup_type: request.backup_type,
            status: Status::Creating,
            source_version: request.source_version.clone(),
            backup_size: None,
            file_count: None,
            compression_type: "gzip".into(),
            backup_hash: None,
            description: request.description.clone(),
            backup_metadata: metadata(request, prospect, &self.settings, host),
            protected: request.protected,
            created_at: self.home.now,
            expires_at: request.expires_at,
        }
    }

    fn complete(
        &self,
        backup: &Backup,
        summary: &Summary,
        problems: &Problems,
        seconds: f64,
    ) -> Result<()> {
        let mut details = json!({
            "seconds": seconds,
            "bytes": summary.archive_bytes,
            "content_bytes": summary.content_bytes,
            "file_count": summary.file_count,
        });
        problems.log(&mut details);
        catalog::write(&self.home, |session| {
            session.update(backup)?;
            session.log(&Event {
                backup: Some((backup.id, &backup.backup_name)),
                event: "create",
                ok: true,
                details,
            })
        })
    }

    /// Leaves a `failed` row. Where even that fails, recovery makes it one later.
    fn fail(
        &self,
        mut backup: Backup,
        partial: Option<Partial>,
        error: &anyhow::Error,
        problems: &Problems,
    ) {
        if let Some(partial) = &partial {
            partial.abandon();
        }
        let reason = bk_cli::one_line(&format!("{error:#}"));
        backup.status = Status::Failed;
        backup
            .backup_metadata
            .insert("failure".into(), reason.clone().into());
        problems.put(&mut backup.backup_metadata);
        let mut details = json!({ "reason": reason });
        if problems.count > 0 {
            problems.log(&mut details);
        }
        let recorded = catalog::write(&self.home, |session| {
            if let Some(partial) = &partial {
                partial.remove();
            }
            session.update(&backup)?;
            session.log(&Event {
                backup: Some((backup.id, &backup.backup_name)),
                event: "create",
                ok: false,
                details,
            })
        });
        if let Err(error) = recorded {
            PROGRAM.warn(&format!("cannot record the failure: {error:#}"));
        }
    }

    fn log_refusal(&self, request: &Request, error: &anyhow::Error) {
        let details = json!({
            "reason": bk_cli::one_line(&format!("{error:#}")),
            "sources": lossy(request.sources.iter().map(PathBuf::as_path)),
        });
        let event = Event {
            backup: None,
            event: "create",
            ok: false,
            details,
        };
        // Where even that fails, the refusal itself is what people need to read.
        let _ = catalog::write(&self.home, |session| session.log(&event));
    }
}

/// The storage directory is no longer what it was when the request was looked at.
#[derive(Debug)]
struct Moved;

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the storage directory has changed")
    }
}

impl std::error::Error for Moved {}
