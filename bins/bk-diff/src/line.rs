//! A change as a JSON line, and as a row.
//!
//! Knows no manifest.

use bk_cli::output::base64;
use bk_cli::units::human_size;
use bk_cli::{Cell, Column, Cut};
use bk_schema::manifest::{Entry, EntryType, FileTime};
use bk_schema::record::Backup;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::change::{Change, Kind};

pub(crate) const COLUMNS: [Column; 4] = [
    Column::left("CHANGE"),
    Column::left("PATH").cut(Cut::Middle, 20),
    Column::left("OLD").cut(Cut::End, 12),
    Column::left("NEW").cut(Cut::End, 12),
];

/// What is told of an entry, with its name.
type Facts = Map<String, Value>;

/// One change; bk-record(5) describes the keys.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    /// The backup that has it; none where only the sources do.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_name: Option<&'a str>,
    change: &'static str,
    path: String,
    /// Only if the path is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    /// Of the entry in that backup.
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Facts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<Facts>,
}

impl<'a> Line<'a> {
    /// `backups` are the old one, and the new one unless that is the sources themselves.
    pub(crate) fn new(change: &Change, backups: (&'a Backup, Option<&'a Backup>)) -> Self {
        let backup = match change.kind {
            Kind::Added => backups.1,
            _ => Some(backups.0),
        };
        let (old, new) = differing(change);
        Self {
            id: backup.map(|it| it.id),
            backup_name: backup.map(|it| &*it.backup_name),
            change: change.kind.name(),
            path: String::from_utf8_lossy(&change.path).into_owned(),
            path_base64: str::from_utf8(&change.path)
                .is_err()
                .then(|| base64(&change.path)),
            r#type: change.entry().map_or("", |it| it.entry_type.name()),
            old,
            new,
        }
    }
}

/// For people.
pub(crate) fn row(change: &Change, zone: &TimeZone) -> Vec<Cell> {
    let (old, new) = differing(change);
    let is_of_both = old.is_some() && new.is_some();
    let text = |facts: Option<Facts>| {
        let all = facts.iter().flatten();
        let told = all.filter(|(name, value)| match &***name {
            // The name of an owner stands for its number; the others tell only that it is another file.
            "uid" | "gid" | "inode" | "ctime" => false,
            "mode" | "uname" | "gname" => is_of_both,
            "type" => is_of_both || *value != "file",
            _ => true,
        });
        let texts: Vec<_> = told.map(|(name, value)| human(name, value, zone)).collect();
        Cell::or_dash((!texts.is_empty()).then(|| texts.join(" ")))
    };
    vec![
        Cell::from(change.kind.name().to_owned()),
        Cell::from(String::from_utf8_lossy(&change.path).into_owned()),
        text(old),
        text(new),
    ]
}

fn human(name: &str, value: &Value, zone: &TimeZone) -> String {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    match (name, value.as_u64(), text.parse::<Timestamp>()) {
        ("size", Some(bytes), _) => human_size(bytes),
        ("mtime", _, Ok(time)) => {
            let local = time.to_zoned(zone.clone());
            local.strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        ("link", _, _) => format!("-> {text}"),
        _ => text,
    }
}

/// The facts of both sides; of an entry that both have, those that differ.
fn differing(change: &Change) -> (Option<Facts>, Option<Facts>) {
    let mut old = change.old.as_ref().map(facts);
    let mut new = change.new.as_ref().map(facts);
    match (&mut old, &mut new) {
        (Some(old), Some(new)) => {
            let same = old.iter().filter(|(key, it)| new.get(*key) == Some(it));
            let same: Vec<_> = same.map(|(key, _)| key.clone()).collect();
            for key in same {
                old.remove(&key);
                new.remove(&key);
            }
        }
        (one, other) => {
            for facts in one.iter_mut().chain(other.iter_mut()) {
                facts.remove("ctime");
                facts.remove("inode");
            }
        }
    }
    (old, new)
}

fn facts(entry: &Entry) -> Facts {
    let mut facts = Facts::new();
    let mut tell = |name: &str, value: Value| facts.insert(name.to_owned(), value);
    tell("type", entry.entry_type.name().into());
    if entry.entry_type == EntryType::File {
        tell("size", entry.size.into());
    }
    if entry.entry_type != EntryType::Directory {
        tell("mtime", time(entry.mtime));
    }
    tell("mode", format!("{:04o}", entry.mode).into());
    tell("uid", entry.uid.into());
    tell("gid", entry.gid.into());
    for (name, text) in [("uname", &entry.uname), ("gname", &entry.gname)] {
        if !text.is_empty() {
            tell(name, String::from_utf8_lossy(text).into());
        }
    }
    if !entry.link_target.is_empty() {
        tell("link", String::from_utf8_lossy(&entry.link_target).into());
        if str::from_utf8(&entry.link_target).is_err() {
            tell("link_base64", base64(&entry.link_target).into());
        }
    }
    if let Some((major, minor)) = entry.device_numbers {
        tell("device", format!("{major},{minor}").into());
    }
    if let Some(source) = entry
        .source
        .filter(|_| entry.entry_type != EntryType::Directory)
    {
        tell("inode", source.inode.into());
        tell("ctime", time(source.ctime));
    }
    facts
}

/// Null if it is out of the range of a timestamp.
fn time(time: FileTime) -> Value {
    let time = time.timestamp();
    time.map_or(Value::Null, |time| time.to_string().into())
}
