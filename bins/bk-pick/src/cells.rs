//! The cells of one backup in the list: a text for each column.
//!
//! Knows no screen and no catalog. Ages count from the `now` that it is given.

use bk_cli::listing::{Listed, size, source};
use bk_cli::{Cell, Tone};
use bk_schema::record::Backup;
use bk_schema::verified::LastVerified;
use bk_schema::visible::visible;
use jiff::Timestamp;
use jiff::tz::TimeZone;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;
const YEAR: i64 = 365 * DAY;

/// One backup of the list.
pub(crate) struct Candidate {
    /// Its record.
    pub(crate) listed: Listed,
    /// When it was made, in the local zone: `2026-11-24 08:00`.
    pub(crate) time: String,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Time,
    Age,
    Type,
    Version,
    Size,
    Status,
    Protected,
    Verified,
    Source,
    Name,
    Files,
    Expires,
    Description,
}

impl Candidate {
    pub(crate) fn new(listed: Listed, zone: &TimeZone) -> Self {
        let created = listed.backup.created_at.to_zoned(zone.clone());
        let time = created.strftime("%Y-%m-%d %H:%M").to_string();
        Self { listed, time }
    }

    /// What one column shows, without control characters.
    pub(crate) fn cell(&self, field: Field, now: Timestamp) -> Cell {
        let backup = &self.listed.backup;
        let text_or_dash = |text: &Option<String>| text.as_deref().unwrap_or("-").to_owned();
        let text = match field {
            Field::Status => {
                let (text, tone) = self.listed.state();
                return Cell::new(text, tone);
            }
            Field::Verified => return verified(backup, now),
            Field::Time => self.time.clone(),
            Field::Age => age(backup.created_at, now),
            Field::Type => backup.backup_type.name().to_owned(),
            Field::Version => text_or_dash(&backup.source_version),
            Field::Size => size(backup),
            Field::Protected => if backup.protected { "yes" } else { "-" }.to_owned(),
            Field::Source => source(backup).unwrap_or("-".to_owned()),
            Field::Name => backup.backup_name.clone(),
            Field::Files => backup.file_count.map_or("-".into(), |n| n.to_string()),
            Field::Expires => backup.expires_at.map_or("-".into(), |at| expires(at, now)),
            Field::Description => text_or_dash(&backup.description),
        };
        visible(&text).into()
    }
}

/// The last verification that counts: passed or failed, and how long ago.
fn verified(backup: &Backup, now: Timestamp) -> Cell {
    let bad = LastVerified::of(backup).filter(|last| !last.ok);
    let (outcome, tone, at) = match (bad, LastVerified::verified_at(backup, now)) {
        (Some(last), _) => ("BAD", Tone::Bad, last.at),
        (None, Some(at)) => ("ok", Tone::Plain, at),
        (None, None) => return "-".into(),
    };
    Cell::new(format!("{outcome} {}", age(at, now)), tone)
}

fn expires(at: Timestamp, now: Timestamp) -> String {
    match at > now {
        true => format!("in {}", age(now, at)),
        false => "expired".into(),
    }
}

/// The time between two points in at most three characters (up to 99 years); `-` if the first is
/// later.
fn age(from: Timestamp, to: Timestamp) -> String {
    match to.as_second() - from.as_second() {
        ..0 => "-".into(),
        secs @ 0..MINUTE => format!("{secs}s"),
        secs @ MINUTE..HOUR => format!("{}m", secs / MINUTE),
        secs if secs < 2 * DAY => format!("{}h", secs / HOUR),
        secs if secs < 100 * DAY => format!("{}d", secs / DAY),
        secs if secs < 100 * WEEK => format!("{}w", secs / WEEK),
        secs => format!("{}y", secs / YEAR),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use bk_schema::record::Backup;

    pub(crate) const NOW: &str = "2026-11-24T12:00:00Z";

    pub(crate) fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    /// A completed backup that was made so many hours before now.
    pub(crate) fn item(id: i64, hours: i64, change: impl FnOnce(&mut Backup)) -> Candidate {
        let created = now() - jiff::SignedDuration::from_hours(hours);
        let mut backup: Backup = serde_json::from_value(serde_json::json!({
            "id": id, "backup_name": format!("nightly-{id}"), "backup_type": "automatic",
            "status": "completed", "source_version": "2.3.1", "backup_path": "/b/a.tar.gz",
            "backup_size": 1536, "file_count": 4, "compression_type": "gzip",
            "backup_hash": "0".repeat(64), "description": null, "backup_metadata": {},
            "protected": false, "created_at": created, "expires_at": null
        }))
        .unwrap();
        change(&mut backup);
        let listed = Listed::new(backup, bk_cli::listing::FileStatus::Available);
        Candidate::new(listed, &TimeZone::UTC)
    }

    #[test]
    fn a_span_takes_three_characters() {
        for (secs, text) in [
            (-1, "-"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (3600, "1h"),
            (2 * DAY - 1, "47h"),
            (2 * DAY, "2d"),
            (100 * DAY - 1, "99d"),
            (100 * DAY, "14w"),
            (100 * WEEK - 1, "99w"),
            (100 * WEEK, "1y"),
            (2 * YEAR, "2y"),
        ] {
            let from = now() - jiff::SignedDuration::from_secs(secs);
            assert_eq!(age(from, now()), text, "{secs}");
        }
    }

    #[test]
    fn a_cell_tells_what_the_record_says() {
        let item = item(7, 26, |backup| {
            backup.description = Some("x\u{1b}[2J".into());
            backup.expires_at = Some(now());
            backup.protected = true;
            let last = LastVerified {
                at: now() - jiff::SignedDuration::from_hours(72),
                level: "quick".into(),
                ok: false,
            };
            last.put(backup).unwrap();
        });
        let text = |field| item.cell(field, now()).text;
        assert_eq!(text(Field::Time), "2026-11-23 10:00");
        assert_eq!(text(Field::Age), "26h");
        assert_eq!(text(Field::Size), "1.50 KiB");
        assert_eq!(text(Field::Verified), "BAD 3d");
        assert_eq!(item.cell(Field::Verified, now()).tone, Tone::Bad);
        assert_eq!(text(Field::Expires), "expired");
        assert_eq!(text(Field::Protected), "yes");
        assert_eq!(text(Field::Description), "x\\u{1b}[2J");
    }
}
