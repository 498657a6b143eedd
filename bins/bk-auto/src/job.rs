//! A job: what it backs up or proves, when, for how long its backups are kept, who is told, and how the
//! table `settings` stores it.
//!
//! Knows no catalog.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bk_cli::units;
use bk_jobs::settings::{PREFIX, Settings, full_name};
use bk_jobs::timing::Timing;
use bk_schema::dump;
use bk_schema::invalid::invalid;
use bk_schema::record::check_name;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::create_flags;
use crate::flags::{FAILED_AFTER, GROUP_BY, OLDER_THAN, REQUIRE_COPY};
use crate::rounds::Rounds;
use crate::words;

/// How long a command before or after may take unless `--hook-timeout` says otherwise.
pub(crate) const HOOK_LIMIT: Duration = Duration::from_secs(3600);
/// How long a notice may take unless `--hook-timeout` says otherwise.
pub(crate) const NOTICE_LIMIT: Duration = Duration::from_secs(60);
/// Of the flags of what is kept, those that say nothing alone.
const NO_RULES: [&str; 3] = [GROUP_BY.long, FAILED_AFTER.long, REQUIRE_COPY.long];

/// Who is told how a job ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notify {
    pub(crate) command: String,
    /// Also of a run after which there is nothing to do.
    pub(crate) is_always: bool,
}

/// One job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) timing: Timing,
    /// `None` keeps all backups.
    pub(crate) retention_days: Option<u32>,
    /// The request to bk-create, with the sources.
    pub(crate) request: Map<String, Value>,
    pub(crate) create_flags: Vec<String>,
    /// What it keeps, beside `retention_days`.
    pub(crate) prune_flags: Vec<String>,
    /// What it does instead of a backup.
    pub(crate) rounds: Rounds,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    /// As it was typed.
    pub(crate) hook_timeout: Option<String>,
    /// `None` where it is as for all jobs.
    pub(crate) notify: Option<Notify>,
}

impl Job {
    /// # Errors
    /// Names the setting that is missing or wrong.
    pub(crate) fn from_settings(name: &str, settings: &Settings) -> Result<Self> {
        check_name(name)?;
        let wrong = |key: &str| format!("its setting {PREFIX}{key}");
        let get = |key: &str| settings.get(key).map(String::as_str);
        let timing = Timing::of(settings)?;
        let request = get("request").with_context(|| format!("it has no {PREFIX}request"))?;
        let request = serde_json::from_str(request)
            .ok()
            .with_context(|| format!("{} is not a JSON object", wrong("request")))?;
        let words = |key: &str| {
            let parsed = get(key).map_or(Ok(Vec::new()), serde_json::from_str);
            let parsed: Option<Vec<String>> = parsed.ok();
            parsed.with_context(|| format!("{} is not an array of strings", wrong(key)))
        };
        let text = |key: &str| get(key).map(str::to_owned);
        Ok(Self {
            name: name.to_owned(),
            timing,
            retention_days: get("retention_days")
                .map_or(Ok(None), parse_days)
                .with_context(|| wrong("retention_days"))?,
            request: check_request(request).with_context(|| wrong("request"))?,
            create_flags: words("create_flags")?,
            prune_flags: words("prune_flags")?,
            rounds: Rounds {
                verify: text("verify"),
                test_restore: text("test_restore"),
                prune: get("prune") == Some("true"),
            },
            before: text("before"),
            after: text("after"),
            hook_timeout: text("hook_timeout")
                .map(|text| units::parse_duration(&text).map(|_| text))
                .transpose()
                .with_context(|| wrong("hook_timeout"))?,
            notify: text("notify").map(|command| Notify {
                command,
                is_always: get("notify_always") == Some("true"),
            }),
        })
    }

    /// All its settings by their full names; `None` is to be removed.
    pub(crate) fn to_settings(&self) -> Vec<(String, Option<String>)> {
        let request = Value::Object(self.request.clone()).to_string();
        let words = |words: &Vec<String>| {
            (!words.is_empty()).then(|| Value::from(words.clone()).to_string())
        };
        let set = |is_set: bool| is_set.then(|| true.to_string());
        let notify = self.notify.as_ref();
        let all = [
            (
                "retention_days",
                self.retention_days.map(|days| days.to_string()),
            ),
            ("request", Some(request)),
            ("create_flags", words(&self.create_flags)),
            ("prune_flags", words(&self.prune_flags)),
            ("verify", self.rounds.verify.clone()),
            ("test_restore", self.rounds.test_restore.clone()),
            ("prune", set(self.rounds.prune)),
            ("before", self.before.clone()),
            ("after", self.after.clone()),
            ("hook_timeout", self.hook_timeout.clone()),
            ("notify", notify.map(|it| it.command.clone())),
            ("notify_always", set(notify.is_some_and(|it| it.is_always))),
        ];
        let all = self.timing.to_settings().into_iter().chain(all);
        all.map(|(key, value)| (full_name(key, &self.name), value))
            .collect()
    }

    /// What is backed up.
    pub(crate) fn sources(&self) -> Vec<&str> {
        match self.request.get("sources") {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(one)) => vec![one],
            _ => Vec::new(),
        }
    }

    /// The names under which it backs up what commands print.
    pub(crate) fn dumps(&self) -> impl Iterator<Item = &str> {
        let commands = self.request.get("commands").and_then(Value::as_object);
        commands
            .into_iter()
            .flat_map(|all| all.keys().map(String::as_str))
    }

    /// All that it backs up: paths, files that list more, and what commands print.
    pub(crate) fn backs_up(&self) -> Vec<String> {
        let lists = create_flags::lists(&self.create_flags);
        let paths = self.sources().into_iter().chain(lists).map(str::to_owned);
        let dumps = self.dumps().map(|name| format!("stdin:{name}"));
        paths.chain(dumps).collect()
    }

    /// # Errors
    /// A job that does nothing, and one that does two things of which one may fail without the other.
    pub(crate) fn check(&self) -> Result<()> {
        let name = self.name.escape_debug();
        let backs_up = !self.backs_up().is_empty();
        ensure!(
            backs_up || !self.rounds.is_none(),
            "the job '{name}' would do nothing: name a path after --, a list with --files-from, a --command, or --verify, --test-restore or --prune"
        );
        ensure!(
            !backs_up || self.rounds.is_none(),
            "the job '{name}' cannot back up and also verify, test or prune all backups: make a job of its own for that"
        );
        ensure!(
            backs_up || self.create_flags.is_empty(),
            "the job '{name}' backs up nothing, and has flags for what it backs up"
        );
        self.check_retention()?;
        check_request(self.request.clone()).context("its request")?;
        Ok(())
    }

    fn check_retention(&self) -> Result<()> {
        let name = self.name.escape_debug();
        let flags = self.retention_flags();
        let is_rule = |flag: &String| !NO_RULES.contains(&words::name_of(flag));
        ensure!(
            flags.is_empty() || flags.iter().any(is_rule),
            "the job '{name}': nothing says what is to be kept: give a rule, such as --keep-daily 7"
        );
        ensure!(
            self.retention_days.is_none()
                || words::values(&self.prune_flags, OLDER_THAN.long)
                    .next()
                    .is_none(),
            "the job '{name}': --retention-days and --older-than say the same: give one of them"
        );
        ensure!(
            !self.rounds.prune || !flags.is_empty(),
            "the job '{name}': --prune goes with what is to be kept, such as --keep-daily 7"
        );
        ensure!(
            self.rounds.prune || self.rounds.is_none() || flags.is_empty(),
            "the job '{name}' backs up nothing: what is to be kept of all backups goes with --prune"
        );
        Ok(())
    }

    /// How long one of its commands may take, where nothing else is said.
    pub(crate) fn limit(&self, default: Duration) -> Duration {
        let given = self.hook_timeout.as_deref();
        let given = given.and_then(|text| units::parse_duration(text).ok());
        given.unwrap_or(default)
    }

    /// The flags of bk-prune for what it keeps; none where it keeps all.
    pub(crate) fn retention_flags(&self) -> Vec<String> {
        let older = self
            .retention_days
            .map(|days| format!("--older-than={days}d"));
        older
            .into_iter()
            .chain(self.prune_flags.iter().cloned())
            .collect()
    }

    /// The locations where a backup must have a copy before it goes.
    pub(crate) fn required_copies(&self) -> Vec<String> {
        let locations = words::values(&self.prune_flags, REQUIRE_COPY.long);
        locations.map(str::to_owned).collect()
    }

    /// The storage directory that its flags name; the last one counts.
    pub(crate) fn storage(&self) -> Option<&str> {
        words::values(&self.create_flags, "storage").next_back()
    }

    /// The line for bk-create: the request, with the name of the job.
    pub(crate) fn to_request(&self) -> Map<String, Value> {
        let mut request = self.request.clone();
        let metadata = request
            .entry("backup_metadata")
            .or_insert_with(|| Map::new().into());
        if let Value::Object(metadata) = metadata {
            metadata.insert("job".into(), self.name.clone().into());
        }
        request.insert("backup_type".into(), "automatic".into());
        request.insert("job".into(), self.name.clone().into());
        request
    }
}

/// A number of days, or `None` for `all`.
pub(crate) fn parse_days(text: &str) -> Result<Option<u32>> {
    if text == "all" {
        return Ok(None);
    }
    let days = text.parse().ok().and_then(check_days);
    let wrong = || invalid("number of days", text, "a number from 1 on, or all");
    days.map(Some).ok_or_else(wrong)
}

/// `None` for 0, and for more days than the calendar has: who wants all backups says so.
pub(crate) fn check_days(days: u64) -> Option<u32> {
    u32::try_from(days)
        .ok()
        .filter(|days| (1..=1_000_000).contains(days))
}

/// Checks what a job may request; bk-create checks the rest.
///
/// # Errors
/// Names the key that is wrong.
pub(crate) fn check_request(mut request: Map<String, Value>) -> Result<Map<String, Value>> {
    request.retain(|_, value| !value.is_null());
    for (key, value) in &request {
        let is_right = match key.as_str() {
            "commands" => check_commands(value).map(|()| true)?,
            "sources" => match value {
                Value::Array(all) => !all.is_empty() && all.iter().all(is_source),
                one => is_source(one),
            },
            "description" | "source_version" | "expires_at" => value.is_string(),
            "protected" => value.is_boolean(),
            "backup_metadata" => value.is_object(),
            _ => bail!(
                "cannot have the key '{}': it has sources, commands, description, source_version, backup_metadata, protected, expires_at",
                key.escape_debug()
            ),
        };
        ensure!(is_right, "has a wrong {key}: {value}");
    }
    if let Some(text) = request.get("expires_at").and_then(Value::as_str) {
        // Only whether it is a time at all: each backup has its own now.
        units::parse_future(text, Timestamp::UNIX_EPOCH)?;
    }
    if let Some(Value::Object(metadata)) = request.get("backup_metadata") {
        let mut keys = metadata.keys();
        keys.try_for_each(|key| bk_schema::metadata::check_key(key))?;
    }
    Ok(request)
}

/// An object from names in the archive to commands.
fn check_commands(value: &Value) -> Result<()> {
    let form = "has no object from names to commands as its commands";
    let all = value.as_object().context(form)?;
    let pair = |(name, command): (&'_ String, &'_ Value)| {
        let command = command.as_str().map(str::to_owned);
        command.map(|command| (name.clone(), command)).context(form)
    };
    let pairs: Vec<_> = all.iter().map(pair).collect::<Result<_>>()?;
    let pairs = pairs.iter();
    dump::check_all(pairs.map(|(name, command)| (name.as_str(), command.as_str())))?;
    Ok(())
}

fn is_source(value: &Value) -> bool {
    let path = value.as_str();
    path.is_some_and(|path| !path.is_empty() && !path.contains('\0'))
}
