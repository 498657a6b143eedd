//! Whether a backup holds much less than the one before it: often something was not there, such as a
//! file system that was not mounted, or came to an early end.
//!
//! Knows no archive and no catalog.

use anyhow::Result;
use bk_archive::write::writer::Summary;
use bk_cli::units::{human_size, parse_number};
use bk_schema::host;
use bk_schema::metadata::{SHRUNK, held_against};
use bk_schema::record::Backup;

/// By how many hundredths the content may shrink, where no flag tells it.
pub(crate) const DEFAULT_PERCENT: u8 = 50;

/// `50%` or `50`.
pub(crate) fn parse_percent(text: &str) -> Result<u8> {
    parse_number(text.strip_suffix('%').unwrap_or(text), 0..=100)
}

/// The backup that this one is held against: the newest of `earlier` ones, which are of the same
/// sources, that is of the same host and job and has not shrunk itself.
pub(crate) fn reference<'b>(
    mut earlier: impl Iterator<Item = &'b Backup>,
    backup: &Backup,
) -> Option<&'b Backup> {
    let origin = |it: &Backup| {
        let host = it.backup_metadata.get(host::KEY).cloned();
        (host, it.job().map(str::to_owned))
    };
    let wanted = origin(backup);
    earlier.find(|it| {
        let metadata = &it.backup_metadata;
        let is_measure = metadata.contains_key("content_bytes") && !metadata.contains_key(SHRUNK);
        is_measure && origin(it) == wanted
    })
}

/// Notes in the record of a backup that it holds so much less than another one; returns what people are
/// to read of it.
pub(crate) fn note(
    backup: &mut Backup,
    summary: &Summary,
    reference: &Backup,
    percent: u8,
) -> Option<String> {
    let held_bytes = reference.backup_metadata.get("content_bytes")?.as_u64()?;
    let held_files = reference.file_count.unwrap_or_default();
    let limit = u128::from(held_bytes) * u128::from(100 - percent.min(100));
    let has_nothing = summary.content_bytes == 0 && held_bytes > 0;
    let has_no_file = summary.file_count == 0 && held_files > 0;
    let is_less = u128::from(summary.content_bytes) * 100 < limit;
    if percent == 0 || !(is_less || has_nothing || has_no_file) {
        return None;
    }
    let (now, before) = match held_bytes {
        0 => ("no file".to_owned(), held_files.to_string()),
        _ => (human_size(summary.content_bytes), human_size(held_bytes)),
    };
    let (name, other) = (&backup.backup_name, &reference.backup_name);
    let text = format!(
        "'{name}' holds {now} where '{other}' held {before}: if nothing is missing, accept it with 'bk-set --accept {name}'"
    );
    let held = held_against(other, held_bytes);
    backup.backup_metadata.insert(SHRUNK.into(), held);
    Some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn backup(name: &str, file_count: u64, metadata: serde_json::Value) -> Backup {
        Backup {
            backup_name: name.into(),
            file_count: Some(file_count),
            backup_metadata: metadata.as_object().unwrap().clone(),
            ..Backup::default()
        }
    }

    #[test]
    fn less_than_the_part_that_is_set_or_nothing_where_there_was_something() {
        for (held, now, percent, is_shrunk) in [
            ((1000, 3), (500, 3), 50, false),
            ((1000, 3), (499, 3), 50, true),
            ((1000, 3), (899, 3), 10, true),
            ((1000, 3), (0, 3), 100, true),
            ((1000, 3), (1, 3), 100, false),
            ((1000, 3), (0, 0), 0, false),
            ((0, 3), (0, 0), 50, true),
            ((0, 0), (0, 0), 50, false),
            ((u64::MAX, 3), (u64::MAX / 2, 3), 50, true),
        ] {
            let reference = backup("a", held.1, json!({ "content_bytes": held.0 }));
            let mut new = backup("b", 0, json!({}));
            let summary = Summary {
                archive_bytes: 0,
                hash: String::new(),
                file_count: now.1,
                content_bytes: now.0,
                new_bytes: 0,
            };
            let told = note(&mut new, &summary, &reference, percent);
            assert_eq!(told.is_some(), is_shrunk, "{held:?} {now:?} {percent}");
            let noted = new.backup_metadata.get("shrunk").cloned();
            let expected = json!({ "backup_name": "a", "content_bytes": held.0 });
            assert_eq!(noted, is_shrunk.then_some(expected));
        }
    }

    #[test]
    fn it_is_held_against_the_newest_of_its_own_that_did_not_shrink() {
        let shrunk = json!({ "content_bytes": 1, "host": "h", "shrunk": {} });
        let earlier = [
            backup("shrunk", 1, shrunk),
            backup("adopted", 1, json!({ "host": "h" })),
            backup("other", 1, json!({ "content_bytes": 1, "host": "i" })),
            backup(
                "job",
                1,
                json!({ "content_bytes": 1, "host": "h", "job": "j" }),
            ),
            backup("it", 1, json!({ "content_bytes": 1, "host": "h" })),
        ];
        let new = backup("new", 0, json!({ "host": "h" }));
        let found = reference(earlier.iter(), &new).map(|it| it.backup_name.as_str());
        assert_eq!(found, Some("it"));
        assert_eq!(reference(earlier[..4].iter(), &new), None);
    }
}
