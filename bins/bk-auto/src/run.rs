//! One run of a job: hook, bk-create, hook, bk-prune, and the outcome in the ledger.
//!
//! The catalog is never held while a child runs.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bk_cli::notices::{Fields, Notices, Priority};
use bk_cli::{Arguments, Output, one_line};
use bk_jobs::run::EVENT;
use bk_schema::clock::Jump;
use bk_schema::event::Event;
use bk_schema::losses;
use bk_schema::record::Backup;
use bk_store::{Home, catalog, flock, storage};
use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::child::{self, Watch};
use crate::flags::{PROGRAM, SYSLOG};
use crate::hook::{self, When};
use crate::job::Job;
use crate::retention::{self, Pruned};
use crate::store;

/// Exit status of bk-create: the backup was made, but something of the source was not read.
const SOME_UNREAD: i32 = 3;

/// What every run of this process shares.
pub(crate) struct Runner {
    pub(crate) home: Home,
    pub(crate) watch: Watch,
    pub(crate) notices: Notices,
    pub(crate) output: Output,
    /// The new records, for the table at the end.
    pub(crate) made: Vec<Backup>,
    /// The jump of the clock because of which no retention is to run.
    pub(crate) jump: Option<Jump>,
    /// Flags that every child gets.
    common: Vec<OsString>,
}

/// A backup that was made.
#[derive(Debug)]
struct Made {
    backup: Backup,
    /// As bk-create printed it.
    line: Value,
}

/// How a run went.
#[derive(Debug, Default)]
struct Outcome {
    /// Why it failed; empty where it did not.
    reasons: Vec<String>,
    warnings: Vec<String>,
    made: Option<Made>,
    pruned: Pruned,
    seconds: f64,
}

impl Runner {
    pub(crate) fn new(
        home: Home,
        watch: Watch,
        arguments: &Arguments,
        output: Output,
    ) -> Result<Self> {
        let mut common = vec!["--home".into(), home.dir.clone().into_os_string()];
        if let Some(span) = arguments.text(&bk_cli::LOCK_TIMEOUT)? {
            common.extend(["--lock-timeout".into(), span.into()]);
        }
        if arguments.has(&SYSLOG) {
            common.push("--syslog".into());
        }
        Ok(Self {
            notices: Notices::new(&PROGRAM, arguments),
            home,
            watch,
            output,
            made: Vec::new(),
            jump: None,
            common,
        })
    }

    /// Runs a job if it is still due, or at once, and returns the exit status. A job that another
    /// process runs is skipped.
    ///
    /// # Errors
    /// An unknown job; with `at_once`, a job that another process runs.
    pub(crate) fn run(&mut self, name: &str, at_once: bool) -> Result<u8> {
        let Some(_lock) = lock(&self.home.dir, name)? else {
            if at_once {
                let name = name.escape_debug();
                bail!("cannot run the job '{name}': another bk-auto runs it");
            }
            return Ok(bk_cli::SUCCESS);
        };
        // Read again: another process may just have run it.
        let state = store::read_one(&self.home, name)?;
        let due = state.due(self.home.now, &bk_cli::zone::local());
        if due.is_none() && !at_once {
            return Ok(bk_cli::SUCCESS);
        }
        let began = Instant::now();
        let mut outcome = self.perform(&state.job);
        outcome.seconds = began.elapsed().as_secs_f64();
        self.record(&state.job, due.filter(|_| !at_once), outcome)
    }

    fn perform(&self, job: &Job) -> Outcome {
        let mut outcome = Outcome::default();
        let made = self
            .check_storage(job)
            .and_then(|()| self.before(job))
            .and_then(|()| self.create(job, &mut outcome));
        outcome.add_error(made);
        let after = self.after(job, &outcome);
        outcome.add_error(after);
        let is_due = outcome.made.is_some() && self.watch.signals.caught().is_none();
        if let Some(days) = job.retention_days.filter(|_| is_due) {
            if let Some(jump) = self.jump {
                let text =
                    format!("no retention: {jump}: if it is right, the retention goes on in a day");
                let name = job.name.escape_debug();
                PROGRAM.warn(&format!("warning: the job '{name}': {text}"));
                outcome.warnings.push(text);
                return outcome;
            }
            let (prune, pruned) = (self.program("bk-prune"), &mut outcome.pruned);
            let applied = retention::apply(&self.home, &job.name, days, prune, &self.watch, pruned);
            outcome.add_error(applied);
        }
        outcome
    }

    /// Refuses a storage directory that others may write to: retention relies on what is in it.
    fn check_storage(&self, job: &Job) -> Result<()> {
        let dir = match job.storage() {
            Some(dir) => std::path::absolute(dir)?,
            None => catalog::read(&self.home, |session| session.storage_dir())?,
        };
        match storage::exposed(&dir) {
            Some(exposed) => bail!("its storage '{}' {exposed}", dir.display()),
            None => Ok(()),
        }
    }

    fn before(&self, job: &Job) -> Result<()> {
        if let Some(text) = &job.before {
            let variables = [
                ("BK_JOB", OsStr::new(&job.name)),
                ("BK_HOME", self.home.dir.as_os_str()),
            ];
            let ran = hook::run(text, &variables, &self.watch, When::Before);
            ran.context("the command before failed, so there is no backup")?;
        }
        match self.watch.signals.caught() {
            Some(signal) => bail!("interrupted by signal {signal}"),
            None => Ok(()),
        }
    }

    fn after(&self, job: &Job, outcome: &Outcome) -> Result<()> {
        let Some(text) = &job.after else {
            return Ok(());
        };
        let made = outcome.made.as_ref();
        let name = made.map_or("", |it| &it.backup.backup_name);
        let variables = [
            ("BK_JOB", OsStr::new(&job.name)),
            ("BK_HOME", self.home.dir.as_os_str()),
            ("BK_OUTCOME", OsStr::new(outcome.word())),
            ("BK_BACKUP", OsStr::new(name)),
        ];
        let ran = hook::run(text, &variables, &self.watch, When::After);
        ran.context("the command after failed")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = bk_cli::program(name);
        command.args(&self.common);
        command
    }

    fn create(&self, job: &Job, outcome: &mut Outcome) -> Result<()> {
        let mut create = self.program("bk-create");
        create.args(&job.create_flags).args(["--json", "-"]);
        let request = Value::Object(job.to_request()).to_string() + "\n";
        let ended = child::run(create, &request, &self.watch, |_| true)?;
        match ended.status.code() {
            Some(0 | SOME_UNREAD) => {}
            _ if ended.last_line.is_empty() => bail!("bk-create {}", child::ending(ended.status)),
            _ => bail!("{}", ended.last_line),
        }
        let line = serde_json::from_str(&ended.stdout);
        let line: Value = line.context("bk-create printed no record")?;
        let backup = Backup::deserialize(&line).context("bk-create printed no record")?;
        if ended.status.code() == Some(SOME_UNREAD) {
            outcome.warnings.push(match losses::count(&backup) {
                1 => "1 place of the sources could not be read".into(),
                count => format!("{count} places of the sources could not be read"),
            });
        }
        outcome.made = Some(Made { backup, line });
        Ok(())
    }

    /// Reports the outcome on stdout, in the journal and in the ledger.
    fn record(&mut self, job: &Job, scheduled: Option<Timestamp>, outcome: Outcome) -> Result<u8> {
        let name = job.name.escape_debug();
        if !outcome.reasons.is_empty() {
            PROGRAM.warn(&format!("the job '{name}' failed: {}", outcome.reason()));
        }
        let made = outcome.made.as_ref();
        let reason = Some(outcome.reason()).filter(|it| !it.is_empty());
        let fields = Fields {
            job: Some(&job.name),
            backup: made.map(|it| it.backup.backup_name.as_str()),
            reason: reason.as_deref(),
        };
        self.notices
            .log(outcome.priority(), &outcome.notice(&job.name), &fields);
        if let Some(made) = made {
            if self.output.is_table() {
                self.made.push(made.backup.clone());
            } else {
                self.output.line(&made.line)?;
                self.output.flush()?;
            }
        }
        let ok = outcome.reasons.is_empty();
        let event = Event {
            backup: made.map(|it| (it.backup.id, it.backup.backup_name.as_str())),
            event: EVENT,
            ok,
            details: outcome.details(&job.name, self.home.now, scheduled),
        };
        catalog::write(&self.home, |session| session.log(&event))
            .with_context(|| format!("cannot record the run of the job '{name}'"))?;
        Ok(if ok {
            bk_cli::SUCCESS
        } else {
            bk_cli::SOME_FAILED
        })
    }
}

/// Locks a job until the file is dropped, so that no two processes run it at once; `None` where
/// another process runs it. The file is never removed: two processes could lock different files then.
fn lock(home: &Path, job: &str) -> Result<Option<File>> {
    let path = home.join(format!("auto.{job}.lock"));
    let cannot = || format!("cannot lock '{}'", path.display());
    // Rust opens with O_CLOEXEC: no child inherits it.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(&path)
        .with_context(cannot)?;
    let is_locked = flock::exclusive(&file).with_context(cannot)?;
    Ok(is_locked.then_some(file))
}

impl Outcome {
    fn word(&self) -> &'static str {
        if self.reasons.is_empty() {
            "ok"
        } else {
            "failed"
        }
    }

    fn add_error(&mut self, result: Result<()>) {
        let error = result.err();
        let reason = error.map(|error| one_line(&format!("{error:#}")));
        self.reasons.extend(reason);
    }

    fn reason(&self) -> String {
        self.reasons.join("; ")
    }

    fn priority(&self) -> Priority {
        match (self.reasons.is_empty(), self.warnings.is_empty()) {
            (false, _) => Priority::Failed,
            (true, false) => Priority::Warning,
            (true, true) => Priority::Ok,
        }
    }

    fn notice(&self, job: &str) -> String {
        let mut parts = vec![format!("job '{job}' {}", self.word())];
        let made = self.made.as_ref().map(|it| &it.backup.backup_name);
        parts.extend(made.map(|name| format!("backup '{name}'")));
        parts.extend(self.warnings.iter().cloned());
        if self.pruned.count > 0 {
            parts.push(format!("pruned {}", self.pruned.count));
        }
        parts.extend(self.reasons.iter().cloned());
        parts.join("; ")
    }

    /// `job` comes first: the last run of a job is found by it.
    fn details(&self, job: &str, began: Timestamp, scheduled: Option<Timestamp>) -> Value {
        let mut details = json!({
            "job": job,
            "began": began,
            "scheduled": scheduled,
            "seconds": self.seconds,
            "pruned": self.pruned.count,
            "freed": self.pruned.freed_bytes,
        });
        if !self.warnings.is_empty() {
            details["warning"] = self.warnings.join("; ").into();
        }
        if !self.reasons.is_empty() {
            details["reason"] = self.reason().into();
        }
        details
    }
}
