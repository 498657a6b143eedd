//! One archive, held against its record: what is wrong with it.
//!
//! Opens the archive once. Knows no catalog.

use std::fs::File;
use std::io;
use std::time::Instant;

use anyhow::Result;
use bk_archive::format::damage::Finding;
use bk_archive::read::check;
use bk_archive::{hashed, threads};
use bk_cli::{Arguments, one_line};
use bk_schema::record::Backup;
use bk_schema::verified::{DAMAGED, LEVELS};
use bk_store::archives::open::{self, is_absent};
use jiff::Timestamp;
use serde::Serialize;

use crate::flags::{DEEP, QUICK};

/// So many of the entries that are hit are named in a sentence.
const NAMED_ENTRIES: usize = 3;

/// How thoroughly an archive is checked, in the order of [`LEVELS`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// It is there, and as large as recorded.
    Quick,
    /// Its SHA-256 too.
    #[default]
    Sha256,
    /// And all that is inside.
    Deep,
}

impl Level {
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        let given = arguments.one_of(&[(QUICK, Self::Quick), (DEEP, Self::Deep)])?;
        Ok(given.unwrap_or_default())
    }

    pub(crate) fn name(self) -> &'static str {
        LEVELS[self as usize]
    }

    /// The names of it and of those that prove more.
    pub(crate) fn and_deeper(self) -> &'static [&'static str] {
        &LEVELS[self as usize..]
    }
}

/// What the key `verify` of a line holds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    pub(crate) level: Level,
    pub(crate) ok: bool,
    pub(crate) checked_at: Timestamp,
    pub(crate) seconds: f64,
    /// Of the archive, where it could be read.
    pub(crate) bytes: Option<u64>,
    pub(crate) problems: Vec<Problem>,
    /// What is odd and not wrong, in an archive of another program.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Problem {
    pub(crate) code: &'static str,
    pub(crate) reason: String,
    /// Of a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry_count: Option<u64>,
}

impl Verdict {
    /// Checks the archive of a record. `None` where `go_on` says no.
    ///
    /// # Errors
    /// What is no fault of the archive: no more threads to be had.
    pub(crate) fn of(
        backup: &Backup,
        level: Level,
        now: Timestamp,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<Option<Self>> {
        let began = Instant::now();
        let mut notes = Vec::new();
        let (bytes, problems) = match open(backup) {
            Ok((file, bytes)) => match examine(backup, file, bytes, level, &mut notes, go_on)? {
                Some(seen) => seen,
                None => return Ok(None),
            },
            Err(problem) => (None, vec![problem]),
        };
        Ok(Some(Self {
            level,
            ok: problems.is_empty(),
            checked_at: now,
            seconds: (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            bytes,
            problems,
            notes,
        }))
    }

    /// Whether all that is wrong is that no archive is there.
    pub(crate) fn is_missing(&self) -> bool {
        self.has_problem("missing")
    }

    /// Whether the archive cannot be read.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.has_problem("unreadable")
    }

    fn has_problem(&self, code: &str) -> bool {
        self.problems.iter().any(|problem| problem.code == code)
    }
}

impl Problem {
    fn new(code: &'static str, reason: String) -> Self {
        Self {
            code,
            reason: one_line(&reason),
            offset: None,
            entries: None,
            entry_count: None,
        }
    }

    fn of(finding: &Finding) -> Self {
        let code = finding.kind.name();
        let text = |name: &Vec<u8>| String::from_utf8_lossy(name).into_owned();
        let entries: Vec<_> = finding.entries.iter().map(text).collect();
        let place = match code {
            "unreadable" | "not-an-archive" => String::new(),
            _ => format!(" (at byte {} of the file)", finding.offset),
        };
        let reason = format!("{}{place}{}", finding.reason, hits(finding, &entries));
        let mut problem = Self::new(code, reason);
        problem.offset = Some(finding.offset);
        if code == "corrupt-member" {
            problem.entries = Some(entries);
            problem.entry_count = Some(finding.entry_count);
        }
        problem
    }
}

/// `; it hits 'a', 'b' and 7 more`.
fn hits(finding: &Finding, entries: &[String]) -> String {
    let named = entries.iter().take(NAMED_ENTRIES);
    let named: Vec<_> = named.map(|name| format!("'{name}'")).collect();
    let more = finding.entry_count.saturating_sub(named.len() as u64);
    match (named.as_slice(), more) {
        ([], _) => String::new(),
        ([one], 0) => format!("; it hits {one}"),
        ([most @ .., last], 0) => format!("; it hits {} and {last}", most.join(", ")),
        (named, more) => format!("; it hits {} and {more} more", named.join(", ")),
    }
}

/// The archive and its size, opened once for whatever follows.
fn open(backup: &Backup) -> Result<(File, u64), Problem> {
    let path = &backup.backup_path;
    let opened = open::open(backup, hashed::open).and_then(|file| {
        let metadata = file.metadata()?;
        Ok((file, metadata))
    });
    match opened {
        Ok((file, metadata)) if metadata.is_file() => Ok((file, metadata.len())),
        Ok(_) => {
            let reason = format!("its archive '{path}' is no regular file");
            Err(Problem::new("not-an-archive", reason))
        }
        Err(error) if is_absent(&error) => {
            let reason = format!("its archive '{path}' is missing");
            Err(Problem::new("missing", reason))
        }
        Err(error) => Err(unreadable(backup, &error)),
    }
}

fn unreadable(backup: &Backup, error: &io::Error) -> Problem {
    let path = &backup.backup_path;
    let reason = format!("its archive '{path}' cannot be read: {error}");
    Problem::new("unreadable", reason)
}

/// How many bytes there are, and what is wrong.
fn examine(
    backup: &Backup,
    file: File,
    bytes: u64,
    level: Level,
    notes: &mut Vec<String>,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> io::Result<Option<(Option<u64>, Vec<Problem>)>> {
    let jobs = threads::available();
    let (whole, file_count, found) = match level {
        Level::Quick => {
            let problems = size_problem(backup, bytes).into_iter();
            let problems = problems.chain(known_damage(backup)).collect();
            return Ok(Some((Some(bytes), problems)));
        }
        Level::Sha256 => match hashed::whole(&file, go_on) {
            Ok(None) => return Ok(None),
            Ok(whole) => (whole, None, Vec::new()),
            Err(error) => (None, None, vec![unreadable(backup, &error)]),
        },
        Level::Deep => {
            let Some(checked) = check::check(file, jobs, go_on)? else {
                return Ok(None);
            };
            let found = checked.findings.iter().map(Problem::of).collect();
            *notes = checked.notes;
            (checked.whole, checked.file_count, found)
        }
    };
    let mut problems = Vec::new();
    problems.extend(size_problem(
        backup,
        whole.as_ref().map_or(bytes, |it| it.bytes),
    ));
    problems.extend(whole.as_ref().and_then(|it| hash_problem(backup, &it.hash)));
    if level < Level::Deep {
        problems.extend(known_damage(backup));
    }
    problems.extend(found);
    problems.extend(file_count.and_then(|count| count_problem(backup, count)));
    Ok(Some((whole.map(|whole| whole.bytes), problems)))
}

fn size_problem(backup: &Backup, bytes: u64) -> Option<Problem> {
    let recorded = backup.backup_size.filter(|it| *it != bytes)?;
    let reason = format!("its archive has {bytes} bytes, the record says {recorded}");
    Some(Problem::new("size-mismatch", reason))
}

/// What size and SHA-256 cannot show, as they are those of the damaged archive.
fn known_damage(backup: &Backup) -> Option<Problem> {
    let damage = backup.backup_metadata.get(DAMAGED)?.as_str()?;
    let reason = format!("its archive was damaged when it was adopted: {damage}");
    Some(Problem::new("damaged", reason))
}

fn hash_problem(backup: &Backup, hash: &str) -> Option<Problem> {
    let recorded = backup.backup_hash.as_ref().filter(|it| *it != hash)?;
    let reason = format!("the SHA-256 of its archive is {hash}, the record says {recorded}");
    Some(Problem::new("hash-mismatch", reason))
}

fn count_problem(backup: &Backup, count: u64) -> Option<Problem> {
    let recorded = backup.file_count.filter(|it| *it != count)?;
    let reason = format!("its archive holds {count} files, the record says {recorded}");
    Some(Problem::new("count-mismatch", reason))
}
