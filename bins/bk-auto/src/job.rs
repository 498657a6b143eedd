//! A job: what is backed up, when, and for how long it is kept, and how the table `settings`
//! stores it.
//!
//! Knows no catalog.

use anyhow::{Context, Result, bail, ensure};
use bk_jobs::settings::{PREFIX, Settings, full_name};
use bk_jobs::timing::Timing;
use bk_schema::invalid::invalid;
use bk_schema::record::check_name;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::create_flags;

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
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
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
        let create_flags = get("create_flags")
            .map_or(Ok(Vec::new()), serde_json::from_str)
            .ok();
        let create_flags = create_flags
            .with_context(|| format!("{} is not an array of strings", wrong("create_flags")))?;
        Ok(Self {
            name: name.to_owned(),
            timing,
            retention_days: get("retention_days")
                .map_or(Ok(None), parse_days)
                .with_context(|| wrong("retention_days"))?,
            request: check_request(request).with_context(|| wrong("request"))?,
            create_flags,
            before: get("before").map(str::to_owned),
            after: get("after").map(str::to_owned),
        })
    }

    /// All its settings by their full names; `None` is to be removed.
    pub(crate) fn to_settings(&self) -> Vec<(String, Option<String>)> {
        let request = Value::Object(self.request.clone()).to_string();
        let flags = (!self.create_flags.is_empty())
            .then(|| Value::from(self.create_flags.clone()).to_string());
        let all = [
            (
                "retention_days",
                self.retention_days.map(|days| days.to_string()),
            ),
            ("request", Some(request)),
            ("create_flags", flags),
            ("before", self.before.clone()),
            ("after", self.after.clone()),
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

    /// The same, and the files that list more.
    pub(crate) fn backs_up(&self) -> impl Iterator<Item = &str> {
        let lists = create_flags::lists(&self.create_flags);
        self.sources().into_iter().chain(lists)
    }

    /// The storage directory that its flags name; the last one counts.
    pub(crate) fn storage(&self) -> Option<&str> {
        create_flags::values(&self.create_flags, "storage").next_back()
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
