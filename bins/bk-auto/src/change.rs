//! A change to a job, from the flags or from a line on stdin, and how it is applied.
//!
//! Knows no catalog.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bk_cli::{Arguments, UsageError, usage};
use bk_jobs::schedule::Schedule;
use bk_jobs::settings::DEFAULT;
use bk_jobs::timing::Timing;
use bk_schema::lines::string;
use bk_schema::record::check_name;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::create_flags::{self, Given, absolute};
use crate::flags::{
    AFTER, BEFORE, CREATE_FLAG, DISABLE, ENABLE, REQUEST, RETENTION_DAYS, SCHEDULE,
};
use crate::job::{Job, check_days, check_request, parse_days};

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
                self.is_enabled = Some(value.as_bool().context("is neither true nor false")?);
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
            "before" => self.before = Some(string_or_null(value)?),
            "after" => self.after = Some(string_or_null(value)?),
            // What --list prints beside the job, now or in a later version.
            _ => {}
        }
        Ok(())
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
                before: None,
                after: None,
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
        set(&mut job.before, &self.before);
        set(&mut job.after, &self.after);
        let sources = job.request.get("sources").cloned();
        set(&mut job.request, &self.request);
        let sources = self.sources.clone().map(Value::from).or(sources);
        if let Some(sources) = sources
            && (self.sources.is_some() || !job.request.contains_key("sources"))
        {
            job.request.insert("sources".into(), sources);
        }
        if job.sources().is_empty() {
            job.request.shift_remove("sources");
        }
        if job.backs_up().next().is_none() {
            return Err(match is_new {
                true => self.incomplete(),
                false => UsageError(format!(
                    "the job '{}' would back up nothing: name a path after --, or a list with --files-from",
                    self.name.escape_debug()
                ))
                .into(),
            });
        }
        // Times that passed while it was disabled, or under another schedule, do not count.
        let timing = &mut job.timing;
        let is_enabled_anew = timing.is_enabled && !was.is_enabled;
        if is_new || timing.schedule != was.schedule || is_enabled_anew {
            timing.since = Some(now);
        }
        Ok(job)
    }

    fn incomplete(&self) -> anyhow::Error {
        let name = self.name.escape_debug();
        UsageError(format!(
            "there is no job '{name}' yet: a new one needs a --schedule, and what it backs up after -- or with --files-from"
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
