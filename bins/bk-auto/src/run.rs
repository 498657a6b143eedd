//! One run of a job: hook, bk-create, hook, bk-prune, and the outcome in the ledger.
//!
//! The catalog is never held while a child runs.

use std::ffi::{OsStr, OsString};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bk_cli::notices::{Notices, Priority};
use bk_cli::output::Output;
use bk_cli::{Arguments, one_line};
use bk_schema::clock::Jump;
use bk_schema::event::Event;
use bk_schema::losses;
use bk_schema::record::Backup;
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::storage;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::child::{self, Watch};
use crate::flags::{PROGRAM, SYSLOG};
use crate::hook::{self, When};
use crate::job::Job;
use crate::job_lock;
use crate::retention::{self, Pruned};
use crate::store::{self, EVENT};

/// Exit status of bk-create: the backup was made, but something of the source was not read.
const SOME_UNREAD: i32 = 3;

/// What every run of this process shares.
pub(crate) struct Runner {
    pub(crate) home: Home,
    pub(crate) watch: Watch,
    pub(crate) notices: Notices,
    pub(crate) output: Output,
    /// The new records, for the table at the end.
    pub(crate) made: Vec<Map<String, Value>>,
    /// The jump of the clock because of which no retention is to run.
    pub(crate) jump: Option<Jump>,
    /// Flags that every child gets.
    common: Vec<OsString>,
}

/// How a run went.
#[derive(Debug, Default)]
struct Outcome {
    /// Why it failed; empty where it did not.
    reasons: Vec<String>,
    warnings: Vec<String>,
    record: Option<Map<String, Value>>,
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
        let Some(_lock) = job_lock::take(&self.home.dir, name)? else {
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
        if let Err(error) = made {
            outcome.reasons.push(one_line(&format!("{error:#}")));
        }
        if let Err(error) = self.after(job, &outcome) {
            outcome.reasons.push(one_line(&format!("{error:#}")));
        }
        let is_due = outcome.record.is_some() && self.watch.signals.caught().is_none();
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
            if let Err(error) =
                retention::apply(&self.home, &job.name, days, prune, &self.watch, pruned)
            {
                outcome.reasons.push(one_line(&format!("{error:#}")));
            }
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
        let name = outcome.backup_name().unwrap_or_default();
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
            Some(0) => {}
            Some(SOME_UNREAD) => {}
            _ if ended.last_line.is_empty() => bail!("bk-create {}", child::ending(ended.status)),
            _ => bail!("{}", ended.last_line),
        }
        let record = serde_json::from_str(&ended.stdout);
        let record: Map<String, Value> = record.context("bk-create printed no record")?;
        if ended.status.code() == Some(SOME_UNREAD) {
            let backup: Backup = serde_json::from_value(record.clone().into())?;
            outcome.warnings.push(match losses::count(&backup) {
                1 => "1 place of the sources could not be read".into(),
                count => format!("{count} places of the sources could not be read"),
            });
        }
        outcome.record = Some(record);
        Ok(())
    }

    /// Reports the outcome on stdout, in the journal and in the ledger.
    fn record(&mut self, job: &Job, scheduled: Option<Timestamp>, outcome: Outcome) -> Result<u8> {
        let name = job.name.escape_debug();
        if !outcome.reasons.is_empty() {
            PROGRAM.warn(&format!("the job '{name}' failed: {}", outcome.reason()));
        }
        self.notices
            .log(outcome.priority(), &outcome.notice(&job.name));
        if let Some(record) = &outcome.record {
            if self.output.is_table() {
                self.made.push(record.clone());
            } else {
                self.output.line(record)?;
                self.output.flush()?;
            }
        }
        let details = outcome.details(&job.name, self.home.now, scheduled);
        let id = outcome.record.as_ref().and_then(|it| it["id"].as_i64());
        let event = Event {
            backup: id.zip(outcome.backup_name()),
            event: EVENT,
            ok: outcome.reasons.is_empty(),
            details,
        };
        catalog::write(&self.home, |session| session.log(&event))
            .with_context(|| format!("cannot record the run of the job '{name}'"))?;
        Ok(if outcome.reasons.is_empty() {
            bk_cli::SUCCESS
        } else {
            bk_cli::SOME_FAILED
        })
    }
}

impl Outcome {
    fn word(&self) -> &'static str {
        if self.reasons.is_empty() {
            "ok"
        } else {
            "failed"
        }
    }

    fn backup_name(&self) -> Option<&str> {
        self.record.as_ref()?.get("backup_name")?.as_str()
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
        parts.extend(self.backup_name().map(|name| format!("backup '{name}'")));
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
