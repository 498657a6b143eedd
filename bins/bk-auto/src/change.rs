//! A change to a job, from the flags or from a line on stdin, and how it is applied.
//!
//! Knows no catalog.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bk_cli::{Arguments, UsageError, units, usage};
use bk_jobs::schedule::Schedule;
use bk_jobs::settings::DEFAULT;
use bk_jobs::timing::Timing;
use bk_schema::dump;
use bk_schema::lines::string;
use bk_schema::record::check_name;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::flags::{
    AFTER, BEFORE, COMMAND, CREATE_FLAG, DISABLE, ENABLE, HOOK_TIMEOUT, NOTIFY, NOTIFY_ALWAYS,
    PRUNE, REQUEST, RETENTION_DAYS, SCHEDULE, STDIN_FILENAME, TEST_RESTORE, VERIFY,
};
use crate::job::{Job, Notify, check_days, check_request, parse_days};
use crate::rounds::{self, Rounds};
use crate::words::{Given, absolute};
use crate::{create_flags, prune_flags};

/// A change to a job. A field that is `None` stays as it is; an inner `None` removes the value.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct JobChange {
    pub(crate) name: String,
    pub(crate) is_enabled: Option<bool>,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) retention_days: Option<Option<u32>>,
    pub(crate) sources: Option<Vec<String>>,
    pub(crate) request: Option<Map<String, Value>>,
    pub(crate) create_flags: Option<Vec<String>>,
    /// Take the place of what the flags say.
    pub(crate) given: Vec<Given>,
    pub(crate) prune_flags: Option<Vec<String>>,
    pub(crate) prune_given: Vec<Given>,
    pub(crate) commands: Option<Map<String, Value>>,
    pub(crate) verify: Option<Option<String>>,
    pub(crate) test_restore: Option<Option<String>>,
    pub(crate) prune: Option<bool>,
    pub(crate) hook_timeout: Option<Option<String>>,
    pub(crate) notify: Option<Option<String>>,
    pub(crate) notify_always: Option<bool>,
    pub(crate) before: Option<Option<String>>,
    pub(crate) after: Option<Option<String>>,
}

impl JobChange {
    pub(crate) fn from_flags(
        name: String,
        sources: &[PathBuf],
        arguments: &Arguments,
    ) -> Result<Self> {
        let sources: Vec<_> = sources
            .iter()
            .map(|path| absolute(path))
            .collect::<Result<_>>()
            .map_err(|e| usage(&e, "bad source"))?;
        let flags = arguments.texts(&CREATE_FLAG)?;
        let flags = flags.into_iter().map(str::to_owned).collect::<Vec<_>>();
        create_flags::check(&flags).map_err(|e| usage(&e, "--create-flag"))?;
        let is_enabled = arguments.one_of(&[(ENABLE, true), (DISABLE, false)])?;
        let request = |text: &str| {
            let object = serde_json::from_str(text).ok();
            check_request(object.context("it is not a JSON object")?)
        };
        Ok(Self {
            name,
            is_enabled,
            schedule: arguments.parsed(&SCHEDULE, Schedule::parse)?,
            retention_days: arguments.parsed(&RETENTION_DAYS, parse_days)?,
            sources: (!sources.is_empty()).then_some(sources),
            request: arguments.parsed(&REQUEST, request)?,
            create_flags: (!flags.is_empty()).then_some(flags),
            given: create_flags::given(arguments)?,
            prune_flags: None,
            prune_given: prune_flags::given(arguments)?,
            commands: commands(arguments)?,
            verify: arguments.parsed(&VERIFY, verification)?,
            test_restore: arguments.parsed(&TEST_RESTORE, restoration)?,
            prune: arguments.has(&PRUNE).then_some(true),
            hook_timeout: arguments.parsed(&HOOK_TIMEOUT, limit)?,
            notify: arguments.parsed(&NOTIFY, command)?,
            notify_always: arguments.has(&NOTIFY_ALWAYS).then_some(true),
            before: arguments.parsed(&BEFORE, command)?,
            after: arguments.parsed(&AFTER, command)?,
        })
    }

    /// # Errors
    /// Names the key that is wrong.
    pub(crate) fn from_line(line: Value) -> Result<Self> {
        let Value::Object(object) = line else {
            bail!("it is not an object with the key job");
        };
        let mut change = Self {
            name: DEFAULT.into(),
            ..Self::default()
        };
        for (key, value) in object {
            change
                .set(&key, value)
                .with_context(|| format!("its {}", key.escape_debug()))?;
        }
        Ok(change)
    }

    fn set(&mut self, key: &str, value: Value) -> Result<()> {
        match key {
            "job" => {
                self.name = string(value)?;
                check_name(&self.name)?;
            }
            "enabled" => {
                self.is_enabled = Some(is_set(&value)?);
            }
            "schedule" => self.schedule = Some(Schedule::parse(&string(value)?)?),
            "retention_days" => {
                let days = value.as_u64().and_then(check_days);
                ensure!(
                    days.is_some() || value.is_null(),
                    "is neither a number of days from 1 on nor null"
                );
                self.retention_days = Some(days);
            }
            "sources" => {
                let sources = texts(value)?;
                let absolute = sources.iter().map(|path| absolute(Path::new(path)));
                self.sources = Some(absolute.collect::<Result<_>>()?);
            }
            "request" => {
                let Value::Object(request) = value else {
                    bail!("is not an object");
                };
                self.request = Some(check_request(request)?);
            }
            "create_flags" => {
                let flags = texts(value)?;
                create_flags::check(&flags)?;
                self.create_flags = Some(flags);
            }
            "prune_flags" => {
                let flags = texts(value)?;
                prune_flags::check(&flags)?;
                self.prune_flags = Some(flags);
            }
            "verify" => self.verify = Some(verification(&text_or_empty(value)?)?),
            "test_restore" => self.test_restore = Some(restoration(&text_or_empty(value)?)?),
            "prune" => self.prune = Some(is_set(&value)?),
            "hook_timeout" => self.hook_timeout = Some(limit(&text_or_empty(value)?)?),
            "notify" => self.notify = Some(string_or_null(value)?),
            "notify_always" => self.notify_always = Some(is_set(&value)?),
            "commands" => {
                let Value::Object(commands) = value else {
                    bail!("are not an object from names to commands");
                };
                self.commands = Some(commands);
            }
            "before" => self.before = Some(string_or_null(value)?),
            "after" => self.after = Some(string_or_null(value)?),
            // What --list prints beside the job, now or in a later version.
            _ => {}
        }
        Ok(())
    }

    /// Whether it says all that a job needs, whatever was there before.
    pub(crate) fn is_whole(&self) -> bool {
        let is_round = |it: &Option<Option<String>>| it.as_ref().is_some_and(Option::is_some);
        let does = self.sources.is_some()
            || self.commands.is_some()
            || is_round(&self.verify)
            || is_round(&self.test_restore)
            || self.prune == Some(true);
        self.schedule.is_some() && does
    }

    /// The job with the change applied.
    ///
    /// # Errors
    /// [`UsageError`]: a new job without a schedule or sources.
    pub(crate) fn apply(&self, old: Option<Job>, now: Timestamp) -> Result<Job> {
        let is_new = old.is_none();
        let mut job = match old {
            Some(job) => job,
            None => Job {
                name: self.name.clone(),
                timing: Timing {
                    is_enabled: false,
                    schedule: self.schedule.clone().ok_or_else(|| self.incomplete())?,
                    since: None,
                },
                retention_days: None,
                request: Map::new(),
                create_flags: Vec::new(),
                prune_flags: Vec::new(),
                rounds: Rounds::default(),
                before: None,
                after: None,
                hook_timeout: None,
                notify: None,
            },
        };
        let was = job.timing.clone();
        set(&mut job.timing.is_enabled, &self.is_enabled);
        set(&mut job.timing.schedule, &self.schedule);
        set(&mut job.retention_days, &self.retention_days);
        set(&mut job.create_flags, &self.create_flags);
        for given in &self.given {
            given.apply(&mut job.create_flags);
        }
        set(&mut job.prune_flags, &self.prune_flags);
        for given in &self.prune_given {
            given.apply(&mut job.prune_flags);
        }
        set(&mut job.rounds.verify, &self.verify);
        set(&mut job.rounds.test_restore, &self.test_restore);
        set(&mut job.rounds.prune, &self.prune);
        set(&mut job.hook_timeout, &self.hook_timeout);
        self.change_notify(&mut job)?;
        set(&mut job.before, &self.before);
        set(&mut job.after, &self.after);
        self.change_request(&mut job.request);
        if is_new && job.backs_up().is_empty() && job.rounds.is_none() {
            return Err(self.incomplete());
        }
        job.check()
            .map_err(|error| UsageError(format!("{error:#}")))?;
        // Times that passed while it was disabled, or under another schedule, do not count.
        let timing = &mut job.timing;
        let is_enabled_anew = timing.is_enabled && !was.is_enabled;
        if is_new || timing.schedule != was.schedule || is_enabled_anew {
            timing.since = Some(now);
        }
        Ok(job)
    }

    /// Whether it says what is to be kept.
    pub(crate) fn changes_retention(&self) -> bool {
        self.prune_flags.is_some() || !self.prune_given.is_empty()
    }

    fn change_notify(&self, job: &mut Job) -> Result<()> {
        let old = job.notify.take();
        let is_always = old.as_ref().is_some_and(|it| it.is_always);
        let mut command = old.map(|it| it.command);
        set(&mut command, &self.notify);
        ensure!(
            command.is_some() || self.notify_always != Some(true),
            UsageError("--notify-always goes with --notify".into())
        );
        job.notify = command.map(|command| Notify {
            command,
            is_always: self.notify_always.unwrap_or(is_always),
        });
        Ok(())
    }

    /// A new request leaves what is backed up as it is, unless it names that too.
    fn change_request(&self, request: &mut Map<String, Value>) {
        let old = request.clone();
        set(request, &self.request);
        let sources = self.sources.clone().map(Value::from);
        let commands = self.commands.clone().map(Value::from);
        for (key, given) in [("sources", sources), ("commands", commands)] {
            if let Some(value) = given {
                request.insert(key.into(), value);
            } else if let Some(value) = old.get(key).filter(|_| !request.contains_key(key)) {
                request.insert(key.into(), value.clone());
            }
            let is_empty = |value: &Value| match value {
                Value::Array(all) => all.is_empty(),
                Value::Object(all) => all.is_empty(),
                _ => false,
            };
            if request.get(key).is_some_and(is_empty) {
                request.shift_remove(key);
            }
        }
    }

    fn incomplete(&self) -> anyhow::Error {
        let name = self.name.escape_debug();
        UsageError(format!(
            "there is no job '{name}' yet: a new one needs a --schedule, and what it backs up after --, or with --files-from or --command"
        ))
        .into()
    }
}

fn set<T: Clone>(field: &mut T, wanted: &Option<T>) {
    if let Some(wanted) = wanted {
        *field = wanted.clone();
    }
}

fn command(text: &str) -> Result<Option<String>> {
    ensure!(!text.contains('\0'), "a command cannot hold a NUL");
    Ok((!text.trim().is_empty()).then(|| text.to_owned()))
}

/// The commands of the flags: `NAME=COMMAND` each, or one with its name apart. An empty one takes all
/// away.
fn commands(arguments: &Arguments) -> Result<Option<Map<String, Value>>> {
    let (given, filename) = (arguments.texts(&COMMAND)?, arguments.text(&STDIN_FILENAME)?);
    let wrong = |text: &str| Err(UsageError(text.into()).into());
    if let Some(filename) = filename {
        let [command] = given.as_slice() else {
            return wrong("--stdin-filename names the output of one --command COMMAND");
        };
        return Ok(Some(Map::from_iter([(filename.into(), (*command).into())])));
    }
    let mut all = Map::new();
    for text in given.iter().filter(|text| !text.is_empty()) {
        let (name, command) = dump::split(text).map_err(|e| usage(&e, "--command"))?;
        if all.insert(name.into(), command.into()).is_some() {
            return wrong(&format!("--command: two commands would make '{name}'"));
        }
    }
    Ok((!given.is_empty()).then_some(all))
}

fn verification(text: &str) -> Result<Option<String>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    rounds::verify_flags(text).map(|_| Some(text.to_owned()))
}

fn restoration(text: &str) -> Result<Option<String>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    rounds::tested(text).map(|_| Some(text.to_owned()))
}

fn limit(text: &str) -> Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    ensure!(
        !units::parse_duration(text)?.is_zero(),
        "no command ends at once: use a number with a unit, such as 90s, 10m or 1h"
    );
    Ok(Some(text.to_owned()))
}

/// What the flags say of who is told of all jobs.
pub(crate) fn notify(arguments: &Arguments) -> Result<Option<Notify>> {
    let is_always = arguments.has(&NOTIFY_ALWAYS);
    let command = arguments.parsed(&NOTIFY, command)?.flatten();
    Ok(command.map(|command| Notify { command, is_always }))
}

/// No value is no.
fn is_set(value: &Value) -> Result<bool> {
    match value {
        Value::Null => Ok(false),
        other => other.as_bool().context("is neither true nor false"),
    }
}

fn text_or_empty(value: Value) -> Result<String> {
    match value {
        Value::Null => Ok(String::new()),
        other => string(other),
    }
}

fn string_or_null(value: Value) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        other => command(&string(other)?),
    }
}

fn texts(value: Value) -> Result<Vec<String>> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(all) => all.into_iter().map(string).collect(),
        _ => bail!("is not an array of strings"),
    }
}

/// The job that an operand names, or the default one.
pub(crate) fn job_name(operand: Option<&OsStr>) -> Result<String> {
    let Some(operand) = operand else {
        return Ok(DEFAULT.to_owned());
    };
    let wrong = |reason: String| UsageError(format!("cannot name a job: {reason}"));
    let text = operand
        .to_str()
        .ok_or_else(|| wrong(format!("'{}' is not UTF-8", operand.display())))?;
    check_name(text).map_err(|error| {
        let hint = if text.contains('/') {
            "; what is backed up stands after --"
        } else {
            ""
        };
        wrong(format!("{error}{hint}"))
    })?;
    Ok(text.to_owned())
}
