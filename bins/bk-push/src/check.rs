//! Asks a location whether the copies are there as the catalog knows them, and reads a share of them back.
//!
//! Changes nothing there. No catalog is open while the location is asked.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use bk_cli::units::{human_size, parse_number};
use bk_cli::{Cell, Column, Cut, Progress, Report, Tone, listing};
use bk_offsite::failure::{is_final, kind, tell_left};
use bk_remote::{Kind, Place};
use bk_schema::copy::BackupCopy;
use bk_schema::event::Event;
use bk_schema::invalid::invalid;
use bk_store::parts::Parts;
use bk_store::{Home, Session, Signals};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::at_once::at_once;
use crate::known::Known;
use crate::object::hex;

pub(crate) const COLUMNS: [Column; 6] = [
    listing::ID,
    Column::right("SIZE").leaves(2),
    Column::left("READ").leaves(1),
    Column::left("RESULT"),
    listing::SOURCE,
    Column::left("KEY").cut(Cut::Middle, 20),
];

/// What was found is recorded together where it comes faster than that.
const RECORD_EVERY: Duration = Duration::from_millis(500);

/// One that was asked for.
pub(crate) struct Asked {
    known: Known,
    is_read: bool,
    /// Why it is not as it should be.
    problem: Option<String>,
    /// Its row is another one by now.
    is_stale: bool,
}

/// All that are asked for.
pub(crate) struct Check {
    pub(crate) home: Home,
    pub(crate) location: String,
    pub(crate) place: Box<dyn Place>,
    pub(crate) signals: Signals,
    pub(crate) progress: Progress,
    pub(crate) report: Report,
    pub(crate) status: u8,
    pub(crate) queue: VecDeque<Known>,
    /// The ids of those that are read back.
    pub(crate) to_read: HashSet<i64>,
    /// How many were not asked for.
    pub(crate) left_count: usize,
    /// The location does not answer: there is no use in asking more.
    pub(crate) is_given_up: bool,
}

/// The percentage of `--read`.
///
/// # Errors
/// What is none.
pub(crate) fn parse_share(text: &str) -> Result<u64> {
    let number = text
        .strip_suffix('%')
        .and_then(|it| parse_number(it, 1..=100).ok());
    number.ok_or_else(|| invalid("share", text, "a percentage, such as 5%"))
}

/// Which copies are read back: a share of them all, others each time.
pub(crate) fn sample(all: &VecDeque<Known>, percent: u64, now: Timestamp) -> HashSet<i64> {
    let ids = all.iter().map(|it| it.copy.backup_id);
    let chance = |id: i64| Sha256::digest(format!("{id} {now}"));
    let mut by_chance: Vec<_> = ids.map(|id| (chance(id), id)).collect();
    by_chance.sort_unstable();
    let count = (by_chance.len() as u64 * percent).div_ceil(100);
    let ids = by_chance.into_iter().map(|(_, id)| id);
    ids.take(usize::try_from(count).unwrap_or(usize::MAX))
        .collect()
}

impl Check {
    /// To ask takes no time worth a bar.
    pub(crate) fn begin_progress(&self) {
        let all = self.queue.iter().map(|it| &it.copy);
        let read = all.filter(|copy| self.to_read.contains(&copy.backup_id));
        let bytes: u64 = read.filter_map(|copy| copy.size).sum();
        if bytes > 0 {
            let count = self.queue.len() as u64;
            self.progress.begin_counting(bytes, count, "copies");
        }
    }

    /// Those that are asked for at once.
    fn next_batch(&mut self) -> Vec<Known> {
        let most = self.place.abilities().most_at_once;
        let mut batch = Vec::new();
        while batch.len() < most
            && let Some(known) = self.queue.front()
        {
            // What is read back comes alone: its way here takes all of the line.
            let is_read = self.is_read(known);
            if is_read && !batch.is_empty() {
                break;
            }
            batch.extend(self.queue.pop_front());
            if is_read {
                break;
            }
        }
        batch
    }

    fn ask_all(&self, batch: &[Known]) -> Vec<Result<Option<String>>> {
        let (place, progress) = (self.place.as_ref(), &self.progress);
        at_once(batch, |known| {
            let read = self.to_read.contains(&known.copy.backup_id);
            ask(place, &known.copy, read.then_some(progress))
        })
    }

    fn is_read(&self, known: &Known) -> bool {
        self.to_read.contains(&known.copy.backup_id)
    }

    /// Objects that no row tells of.
    pub(crate) fn find_unknown(&self, below: &str, known: &HashSet<String>) -> Result<()> {
        let mut unknown = Vec::new();
        self.place.list(below, &mut |listed| {
            if !known.contains(&listed.key) {
                unknown.push(listed.key);
            }
            Ok(())
        })?;
        unknown.sort();
        for key in unknown {
            let location = &self.location;
            let text = format!(
                "note: '{}' is at '{location}', and the catalog does not know of it",
                key.escape_debug()
            );
            self.progress.warn(&text);
        }
        Ok(())
    }

    fn fail(&mut self, known: &Known, error: &Error) {
        let (name, location) = (known.copy.backup_name.escape_debug(), &self.location);
        self.progress.warn(&format!(
            "cannot check the copy of '{name}' at '{location}': {error:#}"
        ));
        self.status = bk_cli::SOME_FAILED;
        if is_final(error) {
            self.is_given_up = true;
            self.left_count += std::mem::take(&mut self.queue).len();
        }
    }

    /// Tells how many were not asked for, as that would have failed for the same reason.
    pub(crate) fn tell_left(&self) {
        tell_left(
            &self.progress,
            self.left_count,
            ["copy is", "copies are"],
            "checked at",
            &self.location,
        );
    }
}

/// Why a copy is not as it should be; `None` where it is. It is read back where `read` is given, which is told how
/// far that is.
fn ask(place: &dyn Place, copy: &BackupCopy, read: Option<&Progress>) -> Result<Option<String>> {
    let key = &copy.object_key;
    let object = match place.head(key) {
        Err(error) if error.kind() == Kind::NotFound => {
            // What cannot be reached is not gone: a disk may not be mounted.
            place.list_dirs("")?;
            return Ok(Some("it is gone".into()));
        }
        object => object?,
    };
    let size = copy.size.unwrap_or_default();
    if object.size != size {
        let text = format!("it has {} bytes and should have {size}", object.size);
        return Ok(Some(text));
    }
    let differs = || Some("it has another SHA-256 than it should have".to_owned());
    if object.sha256.is_some_and(|told| is_other(&told, copy)) {
        return Ok(differs());
    }
    let Some(progress) = read else {
        return Ok(None);
    };
    let mut sink = Sink(Sha256::new(), progress);
    place.get(key, &mut sink)?;
    let is_same = Some(hex(sink.0)) == copy.hash;
    Ok(if is_same { None } else { differs() })
}

/// Whether a store tells the checksum of something else than the copy. One with a hyphen is of the checksums of
/// the parts that the object came in; in another number of parts, the store has put it together anew.
fn is_other(told: &str, copy: &BackupCopy) -> bool {
    fn count(hash: &str) -> Option<&str> {
        hash.split_once('-').map(|(_, count)| count)
    }
    let known = [&copy.hash, &copy.parts_hash].into_iter().flatten();
    known
        .filter(|known| count(known) == count(told))
        .any(|known| known != told)
}

/// Takes the hash of what is written to it.
struct Sink<'a>(Sha256, &'a Progress);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        self.1.add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn told(asked: &Asked, checked_at: Timestamp) -> Value {
    let copy = &asked.known.copy;
    json!({
        "location": copy.location,
        "key": copy.object_key,
        "ok": asked.problem.is_none(),
        "read": asked.is_read,
        "problem": asked.problem,
        "checked_at": checked_at,
    })
}

impl Parts for Check {
    type Item = Asked;

    const MARKS: bool = false;

    fn id(asked: &Asked) -> i64 {
        asked.known.copy.backup_id
    }

    fn work(&mut self, part: &mut Vec<Asked>) -> Result<()> {
        let began = Instant::now();
        while self.signals.caught().is_none() && !self.queue.is_empty() {
            let batch = self.next_batch();
            self.signals.hold();
            let asked = self.ask_all(&batch);
            self.signals.release();
            for (known, asked) in batch.into_iter().zip(asked) {
                self.progress.count();
                match asked {
                    Ok(problem) => part.push(Asked {
                        is_read: self.is_read(&known),
                        known,
                        problem,
                        is_stale: false,
                    }),
                    // The signal ends it.
                    Err(error) if kind(&error) == Some(Kind::Stopped) => {}
                    Err(error) if self.is_given_up && is_final(&error) => self.left_count += 1,
                    Err(error) => self.fail(&known, &error),
                }
            }
            if began.elapsed() >= RECORD_EVERY && !part.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn record(&mut self, session: &Session<'_>, part: &mut [Asked]) -> Result<()> {
        // Another bk-push may have removed or made it anew meanwhile.
        let rows = session.copies_at(&self.location)?.into_iter().flatten();
        let rows: HashMap<_, _> = rows.map(|row| (row.backup_id, row)).collect();
        for asked in part.iter_mut() {
            let copy = &asked.known.copy;
            let is_same = |row: &BackupCopy| {
                (&row.object_key, row.copied_at) == (&copy.object_key, copy.copied_at)
                    && row.is_complete()
            };
            asked.is_stale = !rows.get(&copy.backup_id).is_some_and(is_same);
        }
        let ids = |is_ok: bool| -> Vec<i64> {
            let those = part.iter().filter(|it| !it.is_stale);
            let those = those.filter(|it| it.problem.is_none() == is_ok);
            those.map(Self::id).collect()
        };
        session.checked_copies(&self.location, &ids(true))?;
        session.fail_copies(&self.location, &ids(false))?;
        for asked in part.iter().filter(|it| !it.is_stale) {
            let copy = &asked.known.copy;
            let mut details = json!({
                "location": copy.location,
                "key": copy.object_key,
                "read": asked.is_read,
            });
            if let Some(problem) = &asked.problem {
                details["reason"] = problem.clone().into();
            }
            session.log(&Event {
                backup: Some((copy.backup_id, &copy.backup_name)),
                event: "copy-check",
                ok: asked.problem.is_none(),
                details,
            })?;
        }
        Ok(())
    }

    fn tell(&mut self, asked: Asked) -> Result<()> {
        if asked.is_stale {
            return Ok(());
        }
        let (copy, location) = (&asked.known.copy, &self.location);
        if let Some(problem) = &asked.problem {
            let name = copy.backup_name.escape_debug();
            self.progress.warn(&format!(
                "the copy of '{name}' at '{location}' is bad: {problem}"
            ));
            self.status = bk_cli::SOME_FAILED;
        }
        let told = told(&asked, self.home.now);
        let result = match &asked.problem {
            None => "ok".into(),
            Some(problem) => Cell::new(problem.clone(), Tone::Bad),
        };
        let row = vec![
            copy.backup_id.to_string().into(),
            human_size(copy.size.unwrap_or_default()).into(),
            if asked.is_read { "yes" } else { "no" }.into(),
            result,
            asked.known.source(),
            copy.object_key.clone().into(),
        ];
        let line = asked.known.told(&self.home, told);
        self.report.add(&line, row)
    }

    fn unrecorded(&mut self, error: Error) -> Result<()> {
        self.progress
            .warn(&format!("cannot record what was found: {error:#}"));
        self.status = bk_cli::status_of(&error);
        Ok(())
    }
}
