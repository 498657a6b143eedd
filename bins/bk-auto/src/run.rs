//! One run of a job: hook, work, hook, retention, and the outcome in the ledger.
//!
//! The catalog is never held while a child runs.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bk_cli::notices::{Fields, Notices, Priority};
use bk_cli::{Arguments, Output};
use bk_jobs::run::{EVENT, Run};
use bk_schema::clock::Jump;
use bk_schema::event;
use bk_schema::record::Backup;
use bk_store::{Home, catalog, storage};
use serde_json::{Value, json};

use crate::child::Watch;
use crate::flags::{PROGRAM, SYSLOG};
use crate::hook::{self, When};
use crate::job::{HOOK_LIMIT, Job, NOTICE_LIMIT};
use crate::lock::{Event, JobLock, Left, Unrecorded};
use crate::missed::{self, Missed};
use crate::notify::{self, Lost, Notifications};
use crate::outcome::{Made, News, Outcome};
use crate::store::{self, JobState};
use crate::work::Work;

/// Why a run failed of which nothing more is known.
const KILLED: &str = "bk-auto was killed, or the machine went down, while it ran";
/// Notices that are at work when bk-auto is to end get no more time.
const GRACE: Duration = Duration::from_secs(5);
/// How long bk-auto waits at a time for notices before it looks at them.
const SETTLE_EVERY: Duration = Duration::from_secs(1);

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
    notifications: Notifications,
    /// Whether a notice came to nothing.
    has_lost: bool,
    /// Flags that every program gets.
    common: Vec<OsString>,
    is_logged: bool,
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
        Ok(Self {
            notices: Notices::new(&PROGRAM, arguments),
            home,
            watch,
            output,
            made: Vec::new(),
            jump: None,
            notifications: Notifications::default(),
            has_lost: false,
            common,
            is_logged: arguments.has(&SYSLOG),
        })
    }

    /// Runs a job if it is still due, or at once, and returns the exit status. A job that another
    /// process runs is skipped.
    ///
    /// # Errors
    /// An unknown job; with `at_once`, a job that another process runs.
    pub(crate) fn run(&mut self, name: &str, at_once: bool) -> Result<u8> {
        let Some(lock) = JobLock::take(&self.home.dir, name)? else {
            if at_once {
                let name = name.escape_debug();
                bail!("cannot run the job '{name}': another bk-auto runs it");
            }
            return Ok(bk_cli::SUCCESS);
        };
        let status = self.recover(name, &lock)?;
        // Read again: another process may just have run it.
        let state = store::read_one(&self.home, name)?;
        let due = state.due(self.home.now, &bk_cli::zone::local());
        if due.is_none() && !at_once {
            return Ok(status);
        }
        let mut run = Unrecorded {
            began: self.home.now,
            after: state.last_id(),
            scheduled: due.filter(|_| !at_once),
            ended: None,
        };
        keep(&lock, &run);
        let clock = Instant::now();
        let mut outcome = self.perform(&state.job, &lock);
        outcome.seconds = clock.elapsed().as_secs_f64();
        self.report(&state.job, &outcome);
        let mut event = outcome.event(name, run.began, run.scheduled);
        if self.watch.signals.caught().is_some() && !outcome.is_ok() {
            interrupt(&mut event, &state);
        }
        run.ended = Some(event.clone());
        let is_kept = keep(&lock, &run);
        // Before it is recorded, as that may fail.
        let news = outcome.news(state.run().is_some_and(|last| !last.is_ok()));
        let record = outcome.made.as_ref().map(|it| &it.line);
        for news in news {
            self.tell(&state, &event, news, record);
        }
        let keeper = is_kept.then_some(lock.path.as_path());
        let recorded = self.record(name, &event, &lock, keeper);
        // Last, as a reader that is gone is no reason to make it again.
        let printed = outcome.made.map_or(Ok(()), |made| self.print(made));
        self.settle()?;
        recorded.and(printed)?;
        let ran = if event.ok {
            bk_cli::SUCCESS
        } else {
            bk_cli::SOME_FAILED
        };
        Ok(status.max(ran))
    }

    /// Records what runs of these jobs left that were killed, or could not be recorded.
    pub(crate) fn recover_all(&mut self, names: &[&str]) -> u8 {
        let mut status = bk_cli::SUCCESS;
        for name in names {
            let lock = JobLock::take(&self.home.dir, name);
            let recovered = lock.and_then(|lock| match lock {
                Some(lock) => self.recover(name, &lock),
                None => Ok(bk_cli::SUCCESS),
            });
            status = status.max(recovered.unwrap_or_else(|error| PROGRAM.report(&error)));
        }
        status
    }

    /// Records the run that the file of the lock keeps, if there is one.
    fn recover(&mut self, name: &str, lock: &JobLock) -> Result<u8> {
        let (began, scheduled, after, ended) = match lock.left()? {
            Left::Nothing => return Ok(bk_cli::SUCCESS),
            Left::Run(run) => (run.began, run.scheduled, Some(run.after), run.ended),
            Left::Torn => (self.home.now, None, None, None),
        };
        let state = store::read_one(&self.home, name)?;
        // It was recorded, and only its end was not kept.
        if after.is_some_and(|after| state.last_id() != after) {
            lock.clear()?;
            return Ok(bk_cli::SUCCESS);
        }
        let was_told = ended.is_some();
        let event = ended.unwrap_or_else(|| {
            let mut outcome = Outcome::default();
            outcome.reasons.push(KILLED.into());
            let mut event = outcome.event(name, began, scheduled);
            interrupt(&mut event, &state);
            event
        });
        self.record(name, &event, lock, Some(&lock.path))?;
        if event.ok {
            return Ok(bk_cli::SUCCESS);
        }
        self.tell_late(&state, &event, was_told);
        Ok(bk_cli::SOME_FAILED)
    }

    /// Records of each job that an earlier round could not run it, if it was due then and has not run since. It
    /// is due still.
    ///
    /// # Errors
    /// A catalog that cannot be written to: the round is to be kept.
    pub(crate) fn record_missed(&mut self, missed: &Missed, names: &[&str]) -> Result<u8> {
        let mut status = bk_cli::SUCCESS;
        for name in names {
            status = status.max(self.record_missed_of(missed, name)?);
        }
        Ok(status)
    }

    fn record_missed_of(&mut self, missed: &Missed, name: &str) -> Result<u8> {
        // Where another process runs it, it is not missed.
        let Some(lock) = JobLock::take(&self.home.dir, name)? else {
            return Ok(bk_cli::SUCCESS);
        };
        let state = store::read_one(&self.home, name)?;
        let due = state.due(missed.began, &bk_cli::zone::local());
        // Recorded before this process was killed.
        let is_known = |run: Run<'_>| !run.has_begun() && run.began() == missed.began;
        if due.is_none() || state.run().is_some_and(is_known) {
            return Ok(bk_cli::SUCCESS);
        }
        let mut outcome = Outcome::default();
        let reason = format!("it could not begin: {}", missed.reason);
        outcome.reasons.push(reason);
        let mut event = outcome.event(name, missed.began, due);
        event.details["begun"] = false.into();
        event.details["done_until"] = json!(state.done_until());
        if let Some(count) = state.run().map(Run::interrupted_count).filter(|it| *it > 0) {
            event.details["interrupted"] = count.into();
        }
        self.record(name, &event, &lock, Some(&missed::path(&self.home.dir)))?;
        self.tell_late(&state, &event, false);
        Ok(bk_cli::SOME_FAILED)
    }

    /// Tells of a run that failed before this process began.
    fn tell_late(&mut self, state: &JobState, event: &Event, was_told: bool) {
        let name = &state.job.name;
        let reason = event.details["reason"].as_str().unwrap_or_default();
        let text = format!("the job '{}' failed: {reason}", name.escape_debug());
        PROGRAM.warn(&text);
        if was_told {
            return;
        }
        let fields = Fields {
            job: Some(name),
            backup: None,
            reason: Some(reason),
        };
        self.notices.log(Priority::Failed, &text, &fields);
        self.tell(state, event, News::Failed, None);
    }

    fn perform(&self, job: &Job, lock: &JobLock) -> Outcome {
        let mut outcome = Outcome::default();
        let work = Work {
            home: &self.home,
            job,
            watch: &self.watch,
            lock,
            common: &self.common,
            is_logged: self.is_logged,
        };
        let done = self.before(job).and_then(|()| match job.rounds.is_none() {
            true => self
                .check_storage(job)
                .and_then(|()| work.create(&mut outcome)),
            false => Ok(()),
        });
        outcome.add_error(done);
        if outcome.is_ok() {
            self.rounds(&work, &mut outcome);
        }
        let after = self.after(job, &outcome);
        outcome.add_error(after);
        if outcome.made.is_some() && !job.retention_flags().is_empty() {
            self.retention(&work, &mut outcome);
        }
        outcome
    }

    /// The rounds, each whatever became of the others.
    fn rounds(&self, work: &Work<'_>, outcome: &mut Outcome) {
        let rounds = &work.job.rounds;
        if let Some(words) = &rounds.verify {
            let verified = work.verify(words, outcome);
            outcome.add_error(verified);
        }
        if let Some(names) = rounds.test_restore.as_ref().filter(|_| self.goes_on()) {
            let tested = work.test_restore(names, outcome);
            outcome.add_error(tested);
        }
        if rounds.prune {
            self.retention(work, outcome);
        }
    }

    /// Removes what is not to be kept, unless something makes that dangerous.
    fn retention(&self, work: &Work<'_>, outcome: &mut Outcome) {
        if !self.goes_on() {
            return;
        }
        let obstacle = match self.jump {
            Some(jump) => Some(format!(
                "{jump}: if it is right, the retention goes on in a day"
            )),
            // What shrank was told already.
            None if outcome.is_shrunk => Some("the backup shrank".to_owned()),
            None => None,
        };
        let Some(obstacle) = obstacle else {
            let pruned = work.prune(outcome);
            return outcome.add_error(pruned);
        };
        let text = format!("no retention: {obstacle}");
        let name = work.job.name.escape_debug();
        PROGRAM.warn(&format!("warning: the job '{name}': {text}"));
        outcome.warnings.push(text);
    }

    fn goes_on(&self) -> bool {
        self.watch.signals.caught().is_none()
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
            let limit = job.limit(HOOK_LIMIT);
            let ran = hook::run(text, &variables, &self.watch, When::Before, limit);
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
        let limit = job.limit(HOOK_LIMIT);
        let ran = hook::run(text, &variables, &self.watch, When::After, limit);
        ran.context("the command after failed")
    }

    /// Reports the outcome on stderr and in the journal.
    fn report(&mut self, job: &Job, outcome: &Outcome) {
        if !outcome.is_ok() {
            let (name, reason) = (job.name.escape_debug(), outcome.reason());
            PROGRAM.warn(&format!("the job '{name}' failed: {reason}"));
        }
        let made = outcome.made.as_ref();
        let reason = outcome.reason();
        let fields = Fields {
            job: Some(&job.name),
            backup: made.map(|it| it.backup.backup_name.as_str()),
            reason: Some(reason.as_str()).filter(|it| !it.is_empty()),
        };
        self.notices
            .log(outcome.priority(), &outcome.notice(&job.name), &fields);
    }

    /// Prints the new record; in a table at the end.
    fn print(&mut self, made: Made) -> Result<()> {
        if self.output.is_table() {
            self.made.push(made.backup);
            return Ok(());
        }
        self.output.line(&made.line)?;
        self.output.flush()
    }

    /// Adds a run to the ledger; the file of the lock needs it no longer then. `keeper` keeps it meanwhile.
    fn record(
        &self,
        job: &str,
        event: &Event,
        lock: &JobLock,
        keeper: Option<&Path>,
    ) -> Result<()> {
        let backup = event.backup.as_ref();
        let row = event::Event {
            backup: backup.map(|(id, name)| (*id, name.as_str())),
            event: EVENT,
            ok: event.ok,
            details: event.details.clone(),
        };
        catalog::write(&self.home, |session| session.log(&row)).with_context(|| {
            let job = job.escape_debug();
            match keeper.map(Path::display) {
                Some(path) => format!(
                    "cannot record the run of the job '{job}': '{path}' keeps it for the next bk-auto"
                ),
                None => format!("cannot record the run of the job '{job}', and it is lost"),
            }
        })?;
        lock.clear()
    }

    fn tell(&mut self, state: &JobState, event: &Event, news: News, record: Option<&Value>) {
        let Some(notify) = &state.notify else {
            return;
        };
        let line = notify::line(event, news, record);
        let (job, limit) = (&state.job, state.job.limit(NOTICE_LIMIT));
        let begun = self
            .notifications
            .begin(notify, &job.name, news, &line, limit, &self.watch);
        if let Some(lost) = begun {
            self.tell_lost(&lost);
        }
    }

    /// A notice that came to nothing is told itself, on stderr and in the ledger.
    fn tell_lost(&mut self, lost: &Lost) {
        self.has_lost = true;
        let text = format!(
            "the notice of the job '{}' failed: {}",
            lost.job.escape_debug(),
            lost.reason
        );
        PROGRAM.warn(&text);
        let fields = Fields {
            job: Some(&lost.job),
            backup: None,
            reason: Some(&lost.reason),
        };
        self.notices.log(Priority::Failed, &text, &fields);
        let row = event::Event {
            backup: None,
            event: "notify",
            ok: false,
            details: json!({"job": lost.job, "reason": lost.reason}),
        };
        let written = catalog::write(&self.home, |session| session.log(&row));
        if let Err(error) = written {
            PROGRAM.warn(&format!("cannot record it: {error:#}"));
        }
    }

    /// Tells which notices came to nothing, as far as they have ended.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let lost = self.notifications.lost(&self.watch)?;
        for lost in lost {
            self.tell_lost(&lost);
        }
        Ok(())
    }

    /// Waits for the notices that are at work, and returns the exit status that they mean. Where a
    /// signal came they get little time, and none after another one.
    pub(crate) fn settle_all(&mut self) -> Result<u8> {
        self.watch.next_signal();
        let is_ending = self.watch.signals.caught().is_some();
        let began = Instant::now();
        loop {
            self.settle()?;
            if self.notifications.is_empty() {
                break;
            }
            let is_late = is_ending && began.elapsed() >= GRACE;
            if is_late || self.watch.next_signal().is_some() {
                self.notifications.end();
            }
            self.watch.pause(SETTLE_EVERY)?;
        }
        Ok(match self.has_lost {
            true => bk_cli::SOME_FAILED,
            false => bk_cli::SUCCESS,
        })
    }
}

/// Keeps a run beside the ledger, if there is room; returns whether there was.
fn keep(lock: &JobLock, run: &Unrecorded) -> bool {
    let kept = lock.keep(run);
    if let Err(error) = &kept {
        PROGRAM.warn(&format!("warning: {error:#}"));
    }
    kept.is_ok()
}

/// A run that was stopped is to be made up for: see [`Run::done_until`].
fn interrupt(event: &mut Event, state: &JobState) {
    let earlier = state.run().map_or(0, Run::interrupted_count);
    event.details["interrupted"] = (earlier + 1).into();
    event.details["done_until"] = json!(state.done_until());
}
