//! One record in full, for people: every field on a line.
//!
//! Knows no terminal and no catalog.

use bk_schema::copy::BackupCopy;
use bk_schema::metadata::PROBLEMS;
use bk_schema::record::Backup;
use bk_schema::verified::LastVerified;
use bk_schema::visible::visible;
use jiff::Timestamp;
use serde_json::Value;

use crate::listing::Listed;
use crate::units::human_size;
use crate::zone;

/// The width of the longest field name, but for metadata keys of users.
pub const NAME_WIDTH: usize = 16;

/// The fields, as names and values, in display order. The values are not escaped.
pub fn fields(listed: &Listed) -> Vec<(String, String)> {
    let backup = &listed.backup;
    let text = |text: &Option<String>| text.clone().unwrap_or("-".into());
    let mut fields: Vec<(&str, String)> = vec![
        ("id", backup.id.to_string()),
        ("name", backup.backup_name.clone()),
        ("type", backup.backup_type.name().into()),
        ("status", listed.state().0.into()),
        ("source version", text(&backup.source_version)),
        ("path", backup.backup_path.clone()),
        ("size", size(backup)),
        (
            "files",
            backup
                .file_count
                .map_or("-".into(), |count| count.to_string()),
        ),
        ("compression", backup.compression_type.clone()),
        ("sha256", text(&backup.backup_hash)),
        ("description", text(&backup.description)),
        (
            "protected",
            if backup.protected { "yes" } else { "no" }.into(),
        ),
        ("created", time(backup.created_at)),
        ("expires", backup.expires_at.map_or("never".into(), time)),
    ];
    fields.extend(backup.copies.iter().flat_map(copy));
    let mut metadata = backup.backup_metadata.clone();
    if let Some(last) = LastVerified::of(backup) {
        metadata.shift_remove("last_verified");
        fields.push(("verified", verified(&last)));
    }
    if let Some(bytes) = metadata.get("new_bytes").and_then(Value::as_u64) {
        metadata.shift_remove("new_bytes");
        fields.push(("new bytes", bytes_for_people(bytes)));
    }
    if let Some(Value::String(parent)) = metadata.get("parent").cloned() {
        metadata.shift_remove("parent");
        fields.push(("parent", parent));
    }
    if let Some(Value::Array(sources)) = metadata.shift_remove("sources") {
        fields.extend(sources.iter().map(|source| ("source", plain(source))));
    }
    if let Some(Value::Array(problems)) = metadata.shift_remove(PROBLEMS) {
        fields.extend(problems.iter().map(|it| ("problem", problem(it))));
    }
    let mut fields: Vec<(String, String)> = fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    fields.extend(
        metadata
            .iter()
            .map(|(key, value)| (visible(key), plain(value))),
    );
    fields
}

/// Where a copy is and since when, one field after the other.
fn copy(copy: &BackupCopy) -> impl Iterator<Item = (&'static str, String)> + use<> {
    let (location, status, key) = (&copy.location, copy.status.name(), &copy.object_key);
    let times = [
        ("copied", copy.copied_at),
        ("checked", copy.checked_at),
        ("locked until", copy.locked_until),
    ];
    let times = times
        .into_iter()
        .filter_map(|(name, at)| Some((name, time(at?))));
    std::iter::once(("copy", format!("{location}, {status}: {key}"))).chain(times)
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A problem with a source path: `unreadable /etc/shadow: Permission denied`.
fn problem(problem: &Value) -> String {
    let text = |key: &str| problem.get(key).map(plain).unwrap_or_default();
    format!("{} {}: {}", text("kind"), text("path"), text("reason"))
}

fn size(backup: &Backup) -> String {
    backup.backup_size.map_or("-".into(), bytes_for_people)
}

fn bytes_for_people(bytes: u64) -> String {
    format!("{bytes} ({})", human_size(bytes))
}

fn verified(last: &LastVerified) -> String {
    let outcome = if last.ok { "ok" } else { "BAD" };
    format!("{outcome}, {}, {}", last.level, time(last.at))
}

fn time(time: Timestamp) -> String {
    let local = time.to_zoned(zone::local());
    format!("{time} ({})", local.strftime("%Y-%m-%d %H:%M:%S %Z"))
}
