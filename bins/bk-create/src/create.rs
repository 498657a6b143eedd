//! Makes backups: estimate, record, archive, record.
//!
//! The catalog is open twice and briefly for each backup, and never while a source, the archive
//! or a pipe is touched.

use std::io::BufRead;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use bk_archive::header::COMMENT_MAX_BYTES;
use bk_archive::writer::{self, Plan, Summary};
use bk_schema::birth::Birth;
use bk_schema::catalog::{self, Event, Session};
use bk_schema::cli::{self, Arguments, UsageError, usage};
use bk_schema::home::{self, Home};
use bk_schema::host;
use bk_schema::lines::{self, base64};
use bk_schema::listing::{self, Listed};
use bk_schema::lock::Timeout;
use bk_schema::notices::{Notices, Priority};
use bk_schema::operands::check_no_terminal;
use bk_schema::output::Output;
use bk_schema::partial::Partial;
use bk_schema::record::{Backup, Status};
use bk_schema::recovery::partial_path;
use bk_schema::signals::{SIGNALLED, Signals};
use bk_schema::storage::Storage;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::flags::{PROGRAM, Settings};
use crate::prospect::{Known, Prospect, lossy, own_directories};
use crate::request::Request;
use crate::space::Guard;
use crate::watch::{Problems, Watch};

/// Exit status: the backup was made, but something of the source could not be read.
const SOME_UNREAD: u8 = 3;

/// The whole program.
///
/// # Errors
/// Mistakes on the command line and bad input; what concerns one backup is told and counted.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let now = home::now();
    let home = Home::new(&PROGRAM, arguments, now)?;
    let mut output = Output::new(arguments)?;
    let mut creation = Creation {
        settings: Settings::new(arguments)?,
        signals: Signals::watch()?,
        home: Home {
            host: arguments.parsed("host", host::parse)?.or(home.host),
            ..home
        },
    };
    let requests = requests(arguments, now)?;
    let mut notices = Notices::new(&PROGRAM, arguments);
    let (mut made, mut status) = (Vec::new(), cli::DONE);
    for request in requests {
        let done = if arguments.has("estimate") {
            let told = creation.estimate(&request, &mut output);
            told.map(|()| cli::DONE)
        } else {
            let created = notices.tell_error(creation.create(&request));
            created.and_then(|(listed, is_loss)| {
                notices.tell(priority(is_loss), &notice(&listed.backup, is_loss));
                if output.is_table() {
                    made.push(listed);
                } else {
                    output.line(&listed)?;
                    output.flush()?;
                }
                Ok(if is_loss { SOME_UNREAD } else { cli::DONE })
            })
        };
        match done {
            Ok(unread) if status == cli::DONE => status = unread,
            Ok(_) => {}
            Err(error) => {
                status = PROGRAM.report(&error);
                if error.is::<Timeout>() {
                    break;
                }
            }
        }
        if let Some(signal) = creation.signals.caught() {
            status = SIGNALLED + signal;
            break;
        }
    }
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

/// The operands as one request, or one a line on stdin, all of them checked before any is done.
fn requests(arguments: &Arguments, now: Timestamp) -> Result<Vec<Request>> {
    let request = Request::from_flags(arguments, now)?;
    match arguments.operands.as_slice() {
        [] => Err(UsageError(format!(
            "nothing is given to back up; try '{} --help'",
            PROGRAM.name
        ))
        .into()),
        [one] if one == "-" => {
            check_no_terminal("directories or files")?;
            read_requests(&request, now, std::io::stdin().lock())
                .map_err(|e| usage(&e, "bad input"))
        }
        all if all.iter().any(|one| one == "-") => {
            Err(UsageError("'-' stands alone: it reads requests from stdin".into()).into())
        }
        _ => Ok(vec![request]),
    }
}

fn read_requests(flags: &Request, now: Timestamp, input: impl BufRead) -> Result<Vec<Request>> {
    let flags = Request {
        sources: Vec::new(),
        ..flags.clone()
    };
    let read = |(number, value)| {
        let request = flags.with_line(value, now);
        request.with_context(|| format!("line {number}"))
    };
    lines::read_values(input)?.into_iter().map(read).collect()
}

/// What every request of this process shares.
struct Creation {
    settings: Settings,
    signals: Signals,
    home: Home,
}

impl Creation {
    fn look(&mut self, known: Known, request: &Request) -> Result<Prospect> {
        Prospect::look(&self.home, known, &mut self.settings, request)
    }

    fn estimate(&mut self, request: &Request, output: &mut Output) -> Result<()> {
        let prospect = self.look(Known::read(&self.home)?, request)?;
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
        let known = Known::read(&self.home)?;
        let begun = self.look(known, request).and_then(|prospect| {
            prospect.estimate.check()?;
            let archives = prospect.archives.iter().map(String::as_str);
            let storages = &self.home.storages;
            let storage =
                storages.enter(&prospect.storage, archives, self.settings.init_storage)?;
            let begun = self.begin(request, &prospect, storage)?;
            Ok((prospect, begun))
        });
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
        let made = self.make(begun, partial, &prospect);
        self.signals.release();
        let (backup, is_loss) = made?;
        let mut listed = Listed::look(&self.home, backup);
        listed.pass(request.passed.clone());
        Ok((listed, is_loss))
    }

    /// Writes the archive of a record that is begun, and records how that went.
    fn make(
        &self,
        begun: Backup,
        partial: Result<Partial>,
        prospect: &Prospect,
    ) -> Result<(Backup, bool)> {
        let name = begun.backup_name.clone();
        let began = Instant::now();
        let watch = Watch::new(&PROGRAM, self.signals.clone());
        watch.begin(prospect.totals.content_bytes, prospect.totals.file_count);
        let mut partial = partial;
        let written = match &mut partial {
            Ok(partial) => self.write(&begun, partial, prospect, &watch),
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
                Ok((backup, problems.is_loss))
            }
            Err(error) => {
                let error = match self.signals.caught() {
                    Some(signal) => anyhow::anyhow!("interrupted by signal {signal}"),
                    None => error,
                };
                self.fail(begun, partial.ok(), &error);
                Err(error.context(format!("cannot create '{name}'")))
            }
        }
    }

    /// Chooses the name and adds the row `creating`; its partial is made and locked before
    /// another process can see the row, which would else take it for one of the dead.
    fn begin(
        &self,
        request: &Request,
        prospect: &Prospect,
        storage: Option<Storage>,
    ) -> Result<(Backup, Result<Partial>)> {
        let insert = |session: &Session<'_>| {
            self.signals.hold();
            let name = free_name(session, request, &prospect.storage, self.home.now)?;
            let backup = Backup {
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
                backup_metadata: self.metadata(request, prospect, session.host()?.name),
                protected: request.protected,
                created_at: self.home.now,
                expires_at: request.expires_at,
            };
            ensure!(
                Birth::of(&backup, PROGRAM.name).to_comment()?.len() <= COMMENT_MAX_BYTES,
                "cannot create '{}': its description and metadata are longer than {COMMENT_MAX_BYTES} bytes",
                backup.backup_name
            );
            storage.iter().try_for_each(|it| session.keep_storage(it))?;
            session.insert(&backup)
        };
        catalog::write_then(&self.home, insert, |backup| {
            let partial = Partial::make(Path::new(&backup.backup_path));
            Ok((backup, partial))
        })
    }

    fn metadata(&self, request: &Request, prospect: &Prospect, host: String) -> Map<String, Value> {
        let absolute = || prospect.given.iter().map(|given| given.absolute.as_path());
        let stored = prospect
            .given
            .iter()
            .map(|given| given.source.name.as_path());
        let mut metadata = request.metadata.clone();
        metadata.insert("sources".into(), prospect.estimate.sources.clone());
        if absolute().any(|path| path.to_str().is_none()) {
            let encoded: Vec<_> = absolute()
                .map(|path| base64(path.as_os_str().as_bytes()))
                .collect();
            metadata.insert("sources_base64".into(), encoded.into());
        }
        metadata.insert("source_entries".into(), lossy(stored).into());
        metadata.insert(host::KEY.into(), host.into());
        if !self.settings.excludes.is_empty() {
            metadata.insert("excludes".into(), self.settings.excludes.clone().into());
        }
        metadata
    }

    /// Writes the archive, and gives it its name.
    fn write(
        &self,
        backup: &Backup,
        partial: &mut Partial,
        prospect: &Prospect,
        watch: &Watch,
    ) -> Result<Summary> {
        let sources: Vec<_> = prospect
            .given
            .iter()
            .map(|given| given.source.clone())
            .collect();
        let plan = Plan {
            sources: &sources,
            filter: &self.settings.filter,
            comment: &Birth::of(backup, PROGRAM.name).to_comment()?,
            level: self.settings.level,
            jobs: self.settings.jobs,
        };
        let mut guard = Guard {
            file: &partial.file,
            dir: &prospect.storage,
            reserve_bytes: prospect.estimate.reserve_bytes,
            on_low_space: self.settings.on_low_space,
            timeout: self.settings.low_space_timeout,
            watch,
        };
        let summary = writer::write(&plan, &mut guard, watch)
            .with_context(|| format!("cannot write '{}'", backup.backup_path))?;
        partial.keep()?;
        Ok(summary)
    }

    fn complete(
        &self,
        backup: &Backup,
        summary: &Summary,
        problems: &Problems,
        seconds: f64,
    ) -> Result<()> {
        catalog::write(&self.home, |session| {
            session.update(backup)?;
            session.log(&Event {
                backup: Some((backup.id, &backup.backup_name)),
                event: "create",
                ok: true,
                details: json!({
                    "seconds": seconds,
                    "bytes": summary.archive_bytes,
                    "content_bytes": summary.content_bytes,
                    "file_count": summary.file_count,
                    "problem_count": problems.count,
                    "unread": problems.losses(),
                }),
            })
        })
    }

    /// Leaves a `failed` row. Where even that fails, recovery makes it one later.
    fn fail(&self, mut backup: Backup, partial: Option<Partial>, error: &anyhow::Error) {
        if let Some(partial) = &partial {
            partial.abandon();
        }
        let reason = cli::one_line(&format!("{error:#}"));
        backup.status = Status::Failed;
        backup
            .backup_metadata
            .insert("failure".into(), reason.clone().into());
        let recorded = catalog::write(&self.home, |session| {
            if let Some(partial) = &partial {
                partial.remove();
            }
            session.update(&backup)?;
            session.log(&Event {
                backup: Some((backup.id, &backup.backup_name)),
                event: "create",
                ok: false,
                details: json!({ "reason": reason }),
            })
        });
        if let Err(error) = recorded {
            PROGRAM.warn(&format!("cannot record the failure: {error:#}"));
        }
    }

    fn log_refusal(&self, request: &Request, error: &anyhow::Error) {
        let details = json!({
            "reason": cli::one_line(&format!("{error:#}")),
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

/// The name that was asked for, or the default one with `_2` and so on where that is taken. A
/// failed attempt does not keep its name from the next one.
fn free_name(
    session: &Session<'_>,
    request: &Request,
    storage: &Path,
    now: Timestamp,
) -> Result<String> {
    let is_free = |name: &str| -> Result<bool> {
        let archive = storage.join(format!("{name}.tar.gz"));
        let on_disk = |path: &Path| path.symlink_metadata().is_ok();
        let path = archive.to_string_lossy();
        Ok(session.named(name)?.is_none()
            && session.at_path(&path)?.is_empty()
            && !on_disk(&archive)
            && !on_disk(&partial_path(&archive)))
    };
    if let Some(name) = &request.name {
        if let Some(failed) = session
            .named(name)?
            .filter(|it| it.status == Status::Failed)
        {
            session.check_room()?;
            session.remove(&[failed.id])?;
            session.log(&Event {
                backup: Some((failed.id, name)),
                event: "remove",
                ok: true,
                details: json!({ "reason": "a failed attempt, replaced by the next one" }),
            })?;
        }
        ensure!(
            is_free(name)?,
            "cannot create '{name}': the name is taken, by a backup or by a file in '{}'",
            storage.display()
        );
        return Ok(name.clone());
    }
    let default = request.default_name(now);
    if is_free(&default)? {
        return Ok(default);
    }
    for number in 2..100_000 {
        let name = format!("{default}_{number}");
        if is_free(&name)? {
            return Ok(name);
        }
    }
    bail!("cannot create '{default}': the name and all numbers after it are taken");
}

fn completed(begun: Backup, summary: &Summary, problems: &Problems) -> Backup {
    let mut backup = begun;
    let number = |count: u64| i64::try_from(count).ok();
    backup.status = Status::Completed;
    backup.backup_size = number(summary.archive_bytes);
    backup.file_count = number(summary.file_count);
    backup.backup_hash = Some(summary.hash.clone());
    let metadata = &mut backup.backup_metadata;
    metadata.insert("content_bytes".into(), summary.content_bytes.into());
    if problems.count > 0 {
        metadata.insert("problem_count".into(), problems.count.into());
        metadata.insert("problems".into(), problems.listed());
    }
    backup
}
