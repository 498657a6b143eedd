//! Makes backups: plan, row, archive, row.
//!
//! The catalog is open twice and briefly for each backup, and never while a source, the archive
//! or a pipe is touched.

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use bk_archive::write::writer::Summary;
use bk_cli::Arguments;
use bk_cli::listing::{self, FileStatus, Listed};
use bk_cli::notices::{Fields, Notices, Priority};
use bk_cli::output::Output;
use bk_schema::host;
use bk_schema::metadata::SHRUNK;
use bk_schema::record::{Backup, BackupType};
use bk_store::archives::durable::check_makeable;
use bk_store::home::Home;
use bk_store::lock::Timeout;
use bk_store::manifest::writer::Writer;
use bk_store::own;
use bk_store::signals::{Signals, ended_by};
use bk_store::storage::Storage;
use serde_json::Value;

use crate::estimate;
use crate::flags::{DRY_RUN, ESTIMATE, HOST, PROGRAM, Settings};
use crate::names::Names;
use crate::parent::{self, Parent};
use crate::plan::Plan;
use crate::records::Records;
use crate::request::{Request, requests};
use crate::row::{Begun, Rows};
use crate::shrunk;
use crate::sources::lossy;
use crate::unmatched::InAll;
use crate::watch::Watch;
use crate::writing;

/// Exit status: the backup was made, but something of the source could not be read.
const SOME_UNREAD: u8 = 3;

#[derive(Debug, Clone, Copy)]
enum Mode {
    Make,
    DryRun,
    Estimate,
}

/// The whole program.
///
/// # Errors
/// Mistakes on the command line and bad input; what concerns one backup is reported and counted.
pub(crate) fn run(arguments: &Arguments, home: Home, mut output: Output) -> Result<u8> {
    let now = home.now;
    let settings = Settings::new(arguments)?;
    let modes = [(DRY_RUN, Mode::DryRun), (ESTIMATE, Mode::Estimate)];
    let mode = arguments.one_of(&modes)?.unwrap_or(Mode::Make);
    let mut creation = Creation {
        settings: &settings,
        rows: Rows {
            signals: Signals::watch()?,
            home: Home {
                host: arguments.parsed(&HOST, host::parse)?.or(home.host),
                ..home
            },
        },
        records: None,
        unmatched: InAll::default(),
        has_warned_of_hidden: false,
        previewed: HashSet::new(),
    };
    let requests = requests(arguments, now)?;
    let mut notices = Notices::new(&PROGRAM, arguments);
    let mut status = bk_cli::SUCCESS;
    let mut told = Told {
        output: &mut output,
        rows: Vec::new(),
    };
    for request in &requests {
        let done = match mode {
            Mode::Estimate => creation.estimate(request, &mut told),
            Mode::DryRun => creation.preview(request, &mut told),
            Mode::Make => {
                let job = request.metadata.get("job").and_then(Value::as_str);
                let fields = Fields {
                    job,
                    ..Fields::default()
                };
                let created = notices.log_error(creation.create(request), &fields);
                created.and_then(|(listed, is_loss)| {
                    let is_shrunk = listed.backup.backup_metadata.contains_key(SHRUNK);
                    let (status, priority) = match is_loss {
                        true => (SOME_UNREAD, Priority::Warning),
                        false if is_shrunk => (bk_cli::SUCCESS, Priority::Warning),
                        false => (bk_cli::SUCCESS, Priority::Ok),
                    };
                    let fields = Fields {
                        backup: Some(&listed.backup.backup_name),
                        ..fields
                    };
                    notices.log(priority, &notice(&listed.backup, is_loss), &fields);
                    told.tell(listed)?;
                    Ok(status)
                })
            }
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
        if let Some(signal) = creation.rows.signals.caught() {
            status = ended_by(signal);
            break;
        }
    }
    // Not of automatic backups: nobody looks on, and the record tells.
    creation.unmatched.warn();
    if !told.rows.is_empty() {
        listing::print_made(told.output, told.rows)?;
    }
    Ok(status)
}

/// Records are told as they come, or in one table at the end.
struct Told<'a> {
    output: &'a mut Output,
    rows: Vec<Listed>,
}

impl Told<'_> {
    fn tell(&mut self, listed: Listed) -> Result<()> {
        if self.output.is_table() {
            self.rows.push(listed);
            return Ok(());
        }
        match listed.backup.id {
            // It is not made.
            0 => {
                let mut line = serde_json::to_value(&listed)?;
                line["id"] = Value::Null;
                line["dry_run"] = true.into();
                self.output.line(&line)?;
            }
            _ => self.output.line(&listed)?,
        }
        self.output.flush()
    }
}

fn notice(backup: &Backup, is_loss: bool) -> String {
    let unread = if is_loss {
        "; something of the sources could not be read"
    } else {
        ""
    };
    let shrunk = match backup.backup_metadata.get(SHRUNK) {
        Some(held) => format!("; it holds much less than {}", held["backup_name"]),
        None => String::new(),
    };
    format!(
        "created '{}' (id {}), {} bytes, {} files{unread}{shrunk}",
        backup.backup_name,
        backup.id,
        backup.backup_size.unwrap_or_default(),
        backup.file_count.unwrap_or_default()
    )
}

/// What every request of this process shares.
struct Creation<'a> {
    settings: &'a Settings,
    rows: Rows,
    /// Read once, however many requests there are.
    records: Option<Records>,
    /// What matched nothing in any of the requests that people made by hand.
    unmatched: InAll,
    has_warned_of_hidden: bool,
    /// Names and paths of backups that a dry run would have made.
    previewed: HashSet<String>,
}

impl<'a> Creation<'a> {
    fn plan(&mut self, request: &'a Request, is_estimate: bool) -> Result<Plan<'a>> {
        let records = match self.records.take() {
            Some(records) => records,
            None => Records::read(&self.rows.home)?,
        };
        let plan = Plan::new(
            &self.rows.home,
            &records,
            self.settings,
            request,
            is_estimate,
        );
        self.records = Some(records);
        let plan = plan?;
        if request.has_paths() && request.backup_type != BackupType::Automatic {
            self.unmatched.add(&request.excludes, &plan.unmatched);
        }
        Ok(plan)
    }

    fn estimate(&mut self, request: &'a Request, told: &mut Told<'_>) -> Result<u8> {
        ensure!(
            request.has_paths(),
            "cannot estimate what a command prints: its size is not known before"
        );
        let (plan, _) = self.check(request)?;
        warn_not_run(request);
        if told.output.is_table() {
            told.output.text(&estimate::text(&plan))?;
        } else {
            told.output.line(&estimate::line(&plan))?;
        }
        told.output.flush()?;
        Ok(bk_cli::SUCCESS)
    }

    /// Tells the record as it would be made, with the size and the number of files that are expected.
    fn preview(&mut self, request: &'a Request, told: &mut Told<'_>) -> Result<u8> {
        let (plan, name) = self.check(request)?;
        estimate::check_fits(&plan)?;
        check_makeable(Path::new(&plan.storage))?;
        let watch = Watch::new(self.rows.signals.clone());
        let parent = self.parent(&plan, &plan.archive_format(), &watch)?;
        let host = self.records.as_ref().map(|it| it.host.clone());
        let mut backup = self.rows.creating(&plan, name, host.unwrap_or_default())?;
        if request.has_paths() {
            backup.backup_size = Some(plan.archive_bytes);
            backup.file_count = Some(plan.totals.file_count);
            warn_not_run(request);
        }
        let parent = parent.map(|it| ("parent".to_owned(), it.name.into()));
        backup.backup_metadata.extend(parent);
        let names = [backup.backup_name.clone(), backup.backup_path.clone()];
        self.previewed.extend(names);
        let listed = Listed::new(backup, FileStatus::Missing);
        told.tell(listed.pass_through(request.passed.clone()))?;
        Ok(bk_cli::SUCCESS)
    }

    /// The plan of a backup that is not to be made, and its name.
    fn check(&mut self, request: &'a Request) -> Result<(Plan<'a>, String)> {
        let plan = self.plan(request, true)?;
        if !self.settings.init_storage {
            let storage = Path::new(&plan.storage);
            let storages = &self.rows.home.storages;
            storages.check_before(storage, plan.storage_archives())?;
        }
        let taken = self.records.as_ref().map(Records::taken_for_good);
        let mut taken = taken.unwrap_or_default();
        taken.extend(self.previewed.iter().cloned());
        let names = Names::new(&plan, self.rows.home.now, taken);
        let name = names.expected()?;
        Ok((plan, name))
    }

    /// Makes one backup; whether it lacks something of its sources comes with it.
    fn create(&mut self, request: &'a Request) -> Result<(Listed, bool)> {
        let begun = self.begin(request);
        let made = begun.and_then(|(plan, begun)| self.write(&plan, begun));
        self.rows.signals.release();
        let (backup, is_loss) = made?;
        if let Some(records) = &mut self.records {
            records.add(&backup);
        }
        let listed = Listed::stat(&self.rows.home, backup).pass_through(request.passed.clone());
        Ok((listed, is_loss))
    }

    /// Plans a backup and adds its row.
    fn begin(&mut self, request: &'a Request) -> Result<(Plan<'a>, Begun)> {
        loop {
            let prepared = self.prepare(request);
            let (mut plan, storage) =
                prepared.inspect_err(|error| self.rows.log_refusal(request, error))?;
            let taken = match &request.name {
                None => self.records.as_ref().map(Records::taken),
                Some(_) => None,
            };
            let begun = self
                .rows
                .begin(&plan, storage.as_ref(), taken.unwrap_or_default())?;
            if let Some(begun) = begun {
                // Both are there by now.
                plan.filter.own = own::dirs(&self.rows.home, Path::new(&plan.storage));
                return Ok((plan, begun));
            }
            // The storage directory is another one since the catalog was read.
            self.rows.signals.release();
            self.records = None;
        }
    }

    /// Plans a backup that fits, and makes its storage directory.
    fn prepare(&mut self, request: &'a Request) -> Result<(Plan<'a>, Option<Storage>)> {
        let plan = self.plan(request, false)?;
        estimate::check_fits(&plan)?;
        let dir = Path::new(&plan.storage);
        let is_anew = self.settings.init_storage;
        let storages = &self.rows.home.storages;
        let storage = storages.enter(dir, plan.storage_archives(), is_anew)?;
        Ok((plan, storage))
    }

    /// Writes the archive of a backup that is begun, and records how that went.
    fn write(&mut self, plan: &Plan<'_>, mut begun: Begun) -> Result<(Backup, bool)> {
        let began = Instant::now();
        let watch = Watch::new(self.rows.signals.clone());
        match plan.request.streams.is_empty() {
            true => watch.begin(plan.totals.content_bytes, plan.totals.file_count),
            false => watch.progress.begin_unsized(),
        }
        if plan.hides_attributes && !plan.is_hiding_recorded && !self.has_warned_of_hidden {
            self.has_warned_of_hidden = true;
            watch.warn("warning: without CAP_SYS_ADMIN attributes of the name space 'trusted' are not seen, and not backed up");
        }
        let format = plan.archive_format();
        let mut manifest = Writer::begin(&self.rows.home, &format);
        let written = self.parent(plan, &format, &watch).and_then(|parent| {
            let name = parent.as_ref().map(|it| it.name.clone());
            let mut record = |segment| manifest.add(segment);
            let summary = writing::write(plan, &mut begun, parent, &mut record, &watch)?;
            Ok((summary, name))
        });
        let manifest = manifest.finish();
        let problems = watch.end();
        let seconds = began.elapsed().as_secs_f64();
        match written {
            Ok((summary, parent)) => {
                let manifest = usable(manifest, &begun.backup).flatten();
                let metadata = &mut begun.backup.backup_metadata;
                metadata.insert("compression_level".into(), plan.compression.level.into());
                metadata.extend(parent.map(|name| ("parent".into(), name.into())));
                let hash = manifest.as_ref().map(|it| it.hash.clone());
                metadata.extend(hash.map(|hash| ("manifest_hash".into(), hash.into())));
                let shrank = self.note_shrinking(plan, &mut begun.backup, &summary);
                let backup = self.rows.complete(begun, &summary, &problems, seconds)?;
                shrank
                    .iter()
                    .for_each(|text| PROGRAM.warn(&format!("warning: {text}")));
                let named = manifest.map(|it| it.commit(&self.rows.home, &summary.hash));
                usable(named.transpose(), &backup);
                Ok((backup, problems.loss_count > 0))
            }
            Err(error) => Err(self
                .rows
                .fail(begun.backup, Some(begun.partial), error, &problems)),
        }
    }

    /// What people are to read where it holds much less than the one before it.
    fn note_shrinking(
        &self,
        plan: &Plan<'_>,
        backup: &mut Backup,
        summary: &Summary,
    ) -> Option<String> {
        let earlier = self.records.as_ref()?.of_sources(&plan.sources.recorded);
        let reference = shrunk::reference(earlier, backup)?;
        shrunk::note(backup, summary, reference, self.settings.shrink_percent)
    }

    /// The backup of which is taken over what is unchanged.
    fn parent(&self, plan: &Plan<'_>, format: &str, watch: &Watch) -> Result<Option<Parent>> {
        let records = self.records.iter();
        let candidates = records.flat_map(|it| it.of_sources(&plan.sources.recorded));
        // Under other names nothing of it could be taken over.
        let names = lossy(&plan.sources.names).into();
        let key = "source_entries";
        let candidates = candidates.filter(|it| it.backup_metadata.get(key) == Some(&names));
        let warn = |text: &str| watch.warn(text);
        let home = &self.rows.home;
        let parent = parent::choose(home, self.settings, candidates, format, &warn)?;
        if let Some(parent) = &parent {
            watch.set_parent(&parent.name);
        }
        Ok(parent)
    }
}

/// What is not run is not counted.
fn warn_not_run(request: &Request) {
    if !request.streams.is_empty() {
        let names = request.streams.iter();
        let names: Vec<_> = names.map(|it| format!("'{}'", it.filename)).collect();
        let names = names.join(", ");
        PROGRAM.warn(&format!(
            "the commands of {names} are not run: what is told is of the paths alone"
        ));
    }
}

/// A manifest is a cache: that there is none is no more than a warning.
fn usable<T>(manifest: Result<T>, backup: &Backup) -> Option<T> {
    let warn = |error| {
        let name = &backup.backup_name;
        PROGRAM.warn(&format!("warning: '{name}' has no manifest: {error:#}"));
    };
    manifest.map_err(warn).ok()
}
