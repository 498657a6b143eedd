//! Whether a backup holds much less than the one before it: often something was not there, such as a
//! file system that was not mounted, or came to an early end.
//!
//! Knows no archive and no catalog.

use anyhow::Result;
use bk_archive::write::writer::Summary;
use bk_cli::one_line;
use bk_cli::units::{human_size, parse_number};
use bk_schema::host;
use bk_schema::metadata::{COMMAND_BYTES, SHRUNK, held_against};
use bk_schema::record::Backup;
use serde_json::{Map, Value};

/// By how many hundredths the content may shrink, where no flag tells it.
pub(crate) const DEFAULT_PERCENT: u8 = 50;

/// `50%` or `50`.
pub(crate) fn parse_percent(text: &str) -> Result<u8> {
    parse_number(text.strip_suffix('%').unwrap_or(text), 0..=100)
}

/// The backup that this one is held against: the newest of `earlier` ones that is of the same host and
/// job and has not shrunk itself.
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

/// How much there is of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    bytes: u64,
    files: u64,
}

impl Size {
    fn is_less(self, before: Self, percent: u8) -> bool {
        let limit = u128::from(before.bytes) * u128::from(100 - percent.min(100));
        let has_nothing = self.bytes == 0 && before.bytes > 0;
        let has_no_file = self.files == 0 && before.files > 0;
        has_nothing || has_no_file || u128::from(self.bytes) * 100 < limit
    }
}

/// A part of a backup that is compared with the same one of another backup.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part<'b> {
    /// All of it, by its sources.
    All(Option<&'b Value>),
    /// What a command printed, by the name of its file.
    Dump(&'b str),
    /// What is of paths.
    Paths(Vec<&'b Value>),
}

/// What a backup holds, in parts. The first one is all of it.
fn parts(metadata: &Map<String, Value>, total: Size) -> Vec<(Part<'_>, Size)> {
    let sources = metadata.get("sources");
    let mut parts = vec![(Part::All(sources), total)];
    // What one command alone printed is all of it.
    let printed = metadata.get(COMMAND_BYTES).and_then(Value::as_object);
    let mut rest = total;
    for (name, bytes) in printed.into_iter().flatten() {
        let bytes = bytes.as_u64().unwrap_or_default();
        parts.push((Part::Dump(name), Size { bytes, files: 1 }));
        rest.bytes = rest.bytes.saturating_sub(bytes);
        rest.files = rest.files.saturating_sub(1);
    }
    let sources = sources.and_then(Value::as_array);
    let is_path = |it: &&Value| it.as_str().is_some_and(|it| !it.starts_with("stdin:"));
    let paths: Vec<_> = sources.into_iter().flatten().filter(is_path).collect();
    if !paths.is_empty() {
        parts.push((Part::Paths(paths), rest));
    }
    parts
}

/// Notes in the record of a backup that it holds so much less than another one, of all or of a part
/// that both have; returns what people are to read of it.
pub(crate) fn note(
    backup: &mut Backup,
    summary: &Summary,
    reference: &Backup,
    percent: u8,
) -> Option<String> {
    let total = Size {
        bytes: summary.content_bytes,
        files: summary.file_count,
    };
    let held = Size {
        bytes: reference.backup_metadata.get("content_bytes")?.as_u64()?,
        files: reference.file_count.unwrap_or_default(),
    };
    let before = parts(&reference.backup_metadata, held);
    let parts = parts(&backup.backup_metadata, total);
    let pairs = parts.into_iter().filter_map(|(part, now)| {
        let same = before.iter().find(|(other, _)| *other == part)?;
        Some((part, now, same.1))
    });
    let mut shrunk = pairs.filter(|(_, now, before)| now.is_less(*before, percent));
    let (part, now, before) = shrunk.next().filter(|_| percent > 0)?;
    let (file, of) = match part {
        Part::All(_) => (None, String::new()),
        Part::Dump(file) => (Some(file), format!(" of '{}'", one_line(file))),
        Part::Paths(_) => (None, " of its paths".to_owned()),
    };
    let (size, held) = match before.bytes {
        0 => ("no file".to_owned(), before.files.to_string()),
        _ => (human_size(now.bytes), human_size(before.bytes)),
    };
    let (name, other) = (&backup.backup_name, &reference.backup_name);
    let text = format!(
        "'{name}' holds {size}{of} where '{other}' held {held}: if nothing is missing, accept it with 'bk-set --accept {name}'"
    );
    let held = held_against(other, before.bytes, file);
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

    /// Each is `[sources, command_bytes, content_bytes]`.
    #[test]
    fn what_both_have_is_compared_each_for_itself() {
        let two = json!([["/p", "stdin:a", "stdin:b"], {"a": 10, "b": 1000}, 5010]);
        for (held, now, shrunk) in [
            (
                &two,
                json!([["/p", "stdin:a", "stdin:b"], {"a": 10, "b": 1000}, 5010]),
                None,
            ),
            (
                &two,
                json!([["/p", "stdin:a", "stdin:b"], {"a": 4, "b": 1000}, 5004]),
                Some(json!(["a", 10])),
            ),
            (
                &two,
                json!([["/p", "stdin:a", "stdin:b"], {"a": 10, "b": 0}, 4010]),
                Some(json!(["b", 1000])),
            ),
            (
                &two,
                json!([["/p", "stdin:a", "stdin:b"], {"a": 10, "b": 9000}, 9010]),
                Some(json!([null, 4000])),
            ),
            (
                &two,
                json!([["/p", "stdin:a", "stdin:b"], {"a": 1, "b": 1}, 2]),
                Some(json!([null, 5010])),
            ),
            // Other sources: what is common.
            (&two, json!([["/p", "stdin:a"], {"a": 10}, 4010]), None),
            (
                &two,
                json!([["/p", "stdin:a"], {"a": 4}, 4004]),
                Some(json!(["a", 10])),
            ),
            (&two, json!([["/p"], null, 1000]), Some(json!([null, 4000]))),
            (&two, json!([["/q", "stdin:c"], {"c": 0}, 0]), None),
            (
                &two,
                json!([["/q", "stdin:b"], {"b": 0}, 0]),
                Some(json!(["b", 1000])),
            ),
            (
                &json!([["/p"], null, 9]),
                json!([["/p", "/q"], null, 0]),
                None,
            ),
            // Of one dump alone nothing names it.
            (
                &json!([["stdin:a"], {"a": 9}, 9]),
                json!([["stdin:a"], {"a": 0}, 0]),
                Some(json!([null, 9])),
            ),
            // A record that lacks what each printed.
            (
                &json!([["/p", "stdin:a"], null, 9]),
                json!([["/p", "stdin:a"], {"a": 0}, 8]),
                None,
            ),
        ] {
            let files = |of: &Value| of[0].as_array().unwrap().len() as u64;
            let metadata = |of: &Value| {
                let mut all = json!({ "sources": of[0], "content_bytes": of[2] });
                if !of[1].is_null() {
                    all["command_bytes"] = of[1].clone();
                }
                all
            };
            let reference = backup("r", files(held), metadata(held));
            let mut new = backup("n", 0, metadata(&now));
            let summary = Summary {
                archive_bytes: 0,
                hash: String::new(),
                file_count: files(&now),
                content_bytes: now[2].as_u64().unwrap(),
                new_bytes: 0,
            };
            note(&mut new, &summary, &reference, 50);
            let noted = new.backup_metadata.get("shrunk");
            let noted = noted.map(|it| json!([it["name"], it["content_bytes"]]));
            assert_eq!(noted, shrunk, "{held} {now}");
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
