//! A job: what is to be backed up, when, and what becomes of it; as the table `settings` keeps
//! it.
//!
//! The job `default` stands there under plain names, another one under the names with a dot and
//! its own. Knows no catalog.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use bk_schema::invalid::invalid;
use bk_schema::record::check_name;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::schedule::Schedule;

/// How the settings of all jobs begin.
pub(crate) const PREFIX: &str = "auto_backup_";
/// The job that has no name of its own.
pub(crate) const DEFAULT: &str = "default";

/// One job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) is_enabled: bool,
    pub(crate) schedule: Schedule,
    /// `None` keeps all.
    pub(crate) retention_days: Option<u32>,
    /// What bk-create is asked for, with the sources.
    pub(crate) request: Map<String, Value>,
    pub(crate) create_flags: Vec<String>,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    /// From when on its times count.
    pub(crate) since: Option<Timestamp>,
}

/// Settings by the part of their name that says what they are.
pub(crate) type Settings = BTreeMap<String, String>;

/// The name of the job and the rest of the name of one of its settings.
pub(crate) fn split_name(setting: &str) -> Option<(&str, &str)> {
    let rest = setting.strip_prefix(PREFIX)?;
    Some(match rest.split_once('.') {
        Some((key, job)) => (job, key),
        None => (DEFAULT, rest),
    })
}

impl Job {
    /// # Errors
    /// What is missing or wrong in the settings.
    pub(crate) fn from_settings(name: &str, settings: &Settings) -> Result<Self> {
        check_name(name)?;
        let wrong = |key: &str| format!("its setting {PREFIX}{key}");
        let get = |key: &str| settings.get(key);
        let schedule = get("schedule").with_context(|| format!("it has no {PREFIX}schedule"))?;
        let request = get("request").with_context(|| format!("it has no {PREFIX}request"))?;
        let request = serde_json::from_str(request)
            .ok()
            .with_context(|| format!("{} is no JSON object", wrong("request")))?;
        let create_flags = match get("create_flags") {
            Some(text) => serde_json::from_str(text)
                .ok()
                .with_context(|| format!("{} is no array of texts", wrong("create_flags")))?,
            None => Vec::new(),
        };
        let since = get("since").map(|text| text.parse::<Timestamp>());
        Ok(Self {
            name: name.to_owned(),
            is_enabled: match get("enabled").map(String::as_str) {
                Some("true" | "1") => true,
                Some("false" | "0") | None => false,
                Some(other) => bail!(
                    "{} is '{}', neither true nor false",
                    wrong("enabled"),
                    other.escape_debug()
                ),
            },
            schedule: Schedule::parse(schedule).with_context(|| wrong("schedule"))?,
            retention_days: match get("retention_days") {
                Some(text) => parse_days(text).with_context(|| wrong("retention_days"))?,
                None => None,
            },
            request: check_request(request).with_context(|| wrong("request"))?,
            create_flags,
            before: get("before").cloned(),
            after: get("after").cloned(),
            since: since.transpose().with_context(|| wrong("since"))?,
        })
    }

    /// Every setting of it with its name; `None` is to be taken away.
    pub(crate) fn to_settings(&self) -> Vec<(String, Option<String>)> {
        let request = Value::Object(self.request.clone()).to_string();
        let flags = (!self.create_flags.is_empty())
            .then(|| Value::from(self.create_flags.clone()).to_string());
        let all = [
            ("enabled", Some(self.is_enabled.to_string())),
            ("schedule", Some(self.schedule.text.clone())),
            (
                "retention_days",
                self.retention_days.map(|days| days.to_string()),
            ),
            ("request", Some(request)),
            ("create_flags", flags),
            ("before", self.before.clone()),
            ("after", self.after.clone()),
            ("since", self.since.map(|time| time.to_string())),
        ];
        let named = |(key, value): (&str, Option<String>)| (self.setting_name(key), value);
        all.map(named).into()
    }

    fn setting_name(&self, key: &str) -> String {
        if self.name == DEFAULT {
            format!("{PREFIX}{key}")
        } else {
            format!("{PREFIX}{key}.{}", self.name)
        }
    }

    /// What is backed up.
    pub(crate) fn sources(&self) -> Vec<&str> {
        match self.request.get("sources") {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(one)) => vec![one],
            _ => Vec::new(),
        }
    }

    /// The storage that its flags name; the last one counts.
    pub(crate) fn storage(&self) -> Option<&str> {
        let mut flags = self.create_flags.iter().rev();
        flags.find_map(|flag| flag.strip_prefix("--storage="))
    }

    /// The line that bk-create is given: what the job asks for, and which job it is.
    pub(crate) fn to_create(&self) -> Map<String, Value> {
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

/// Days, or `None` for all.
///
/// # Errors
/// What is neither.
pub(crate) fn parse_days(text: &str) -> Result<Option<u32>> {
    if text == "all" {
        return Ok(None);
    }
    let days = text.parse().ok().and_then(check_days);
    let wrong = || invalid("number of days", text, "a number from 1 on, or all");
    days.map(Some).ok_or_else(wrong)
}

/// More days than the calendar has keep all, which is said so.
pub(crate) fn check_days(days: u64) -> Option<u32> {
    u32::try_from(days)
        .ok()
        .filter(|days| (1..=1_000_000).contains(days))
}

/// A request that bk-create can be given again and again.
///
/// # Errors
/// The key that is wrong. What bk-create knows of its own it checks itself.
pub(crate) fn check_request(mut request: Map<String, Value>) -> Result<Map<String, Value>> {
    request.retain(|_, value| !value.is_null());
    for (key, value) in &request {
        let is_right = match key.as_str() {
            "sources" => match value {
                Value::Array(all) => !all.is_empty() && all.iter().all(is_source),
                one => is_source(one),
            },
            "description" | "source_version" | "expires_at" => value.is_string(),
            "protected" => value.is_boolean(),
            "backup_metadata" => value.is_object(),
            _ => bail!(
                "cannot have the key '{}': it has sources, description, source_version, backup_metadata, protected, expires_at",
                key.escape_debug()
            ),
        };
        ensure!(is_right, "has a wrong {key}: {value}");
    }
    if let Some(text) = request.get("expires_at").and_then(Value::as_str) {
        // Only whether it is a time at all: each backup has its own now.
        bk_cli::units::parse_future(text, Timestamp::UNIX_EPOCH)?;
    }
    if let Some(Value::Object(metadata)) = request.get("backup_metadata") {
        let mut keys = metadata.keys();
        keys.try_for_each(|key| bk_schema::metadata::check_key(key))?;
    }
    Ok(request)
}

fn is_source(value: &Value) -> bool {
    let path = value.as_str();
    path.is_some_and(|path| !path.is_empty() && !path.contains('\0'))
}
