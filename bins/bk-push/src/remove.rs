//! Removes copies from a location: the row first says that there is no whole copy any more, then the objects go,
//! then the row.
//!
//! What is locked stays, and is told. No catalog is open while the location is asked.

use std::collections::{HashMap, HashSet, VecDeque};

use anyhow::{Error, Result, anyhow, bail, ensure};
use bk_cli::units::human_size;
use bk_cli::{Column, Cut, Progress, Report, listing};
use bk_offsite::destination::Destination;
use bk_offsite::failure::{is_final, tell_left};
use bk_offsite::sidecars::Keys;
use bk_remote::{Kind, Place};
use bk_schema::copy::BackupCopy;
use bk_schema::event::Event;
use bk_schema::record::Backup;
use bk_store::parts::Parts;
use bk_store::{Home, Session, Signals};
use serde_json::{Value, json};

use crate::at_once::at_once;
use crate::journal::Journal;
use crate::known::Known;

pub(crate) const COLUMNS: [Column; 4] = [
    listing::ID,
    Column::right("FREED").leaves(1),
    listing::SOURCE,
    Column::left("KEY").cut(Cut::Middle, 20),
];

/// So many go between two sessions: what a crash leaves counts as no copy.
const PART_MAX: usize = 100;

/// One that is to go.
pub(crate) struct Going {
    known: Known,
    /// Nobody copies it meanwhile; `None` of one whose row is not touched.
    journal: Option<Journal>,
    state: State,
}

enum State {
    Begun,
    /// Another backup has the same object: only the row goes.
    Shared,
    Gone,
    /// It is gone already, row and all.
    Nothing,
    /// It stays, and is as good as it was.
    Stays(Error),
    /// It was not tried.
    Left,
    /// Whether it is gone is not known, or it is in part: it counts as no copy.
    Failed(Error),
}

/// All that are to go.
pub(crate) struct Removal {
    pub(crate) home: Home,
    pub(crate) location: String,
    pub(crate) destination: Destination,
    pub(crate) place: Box<dyn Place>,
    pub(crate) signals: Signals,
    pub(crate) progress: Progress,
    pub(crate) report: Report,
    pub(crate) status: u8,
    pub(crate) queue: VecDeque<Known>,
    /// Backups whose archive is here, by their ids: looked at before the catalog is held.
    pub(crate) here: HashSet<i64>,
    /// The archives that are there, by the record beside them, which several may have.
    pub(crate) by_record: HashMap<String, HashSet<String>>,
    /// How many were not tried, or failed at once with the one that told why.
    pub(crate) left_count: usize,
    /// Whether one failed for a reason by which all would, and that was told.
    pub(crate) is_given_up: bool,
}

impl Removal {
    pub(crate) fn begin_progress(&self) {
        let bytes = self.queue.iter().filter_map(|it| it.copy.size).sum();
        let count = self.queue.len() as u64;
        self.progress.begin_counting(bytes, count, "copies");
    }

    /// Those of a batch that are begun: each archive with its manifest first, then the records that none has any more.
    fn remove(&mut self, batch: &mut [Going]) {
        let begun = batch
            .iter_mut()
            .filter(|it| matches!(it.state, State::Begun));
        let mut begun: Vec<_> = begun.collect();
        let place = self.place.as_ref();
        let removed = at_once(&begun, |going| remove(place, going));
        let mut records = Vec::new();
        for (going, removed) in begun.iter_mut().zip(removed) {
            going.state = removed.unwrap_or_else(State::Failed);
            if matches!(going.state, State::Gone) {
                let [_, record] = going.known.beside();
                let others = self.by_record.entry(record.clone()).or_default();
                others.remove(&going.known.copy.object_key);
                if others.is_empty() {
                    records.push((going, record));
                }
            }
        }
        let removed = at_once(&records, |(_, record)| Ok(place.delete(record, None)?));
        for ((going, _), removed) in records.into_iter().zip(removed) {
            if let Err(error) = removed {
                going.state = State::Failed(error);
            }
        }
    }

    /// By the row as it is now, which `rows` has with all others of the location, and the number of those that have
    /// the same object.
    fn begin(
        &self,
        known: &mut Known,
        rows: &HashMap<i64, BackupCopy>,
        counts: &mut HashMap<String, usize>,
    ) -> (State, Option<Journal>) {
        let Some(row) = rows.get(&known.copy.backup_id) else {
            return (State::Nothing, None);
        };
        known.copy = row.clone();
        if let Err(error) = self.check_removable(known) {
            return (State::Stays(error), None);
        }
        let journal = match Journal::take(&self.home.dir, &self.location, row.backup_id) {
            Ok(Some(journal)) => journal,
            Ok(None) => {
                return (
                    State::Stays(anyhow!("another bk-push is at work on it")),
                    None,
                );
            }
            Err(error) => return (State::Stays(error), None),
        };
        // Of those that share an object, the last one takes it away.
        let count = counts.entry(row.object_key.clone()).or_default();
        if *count > 1 {
            *count -= 1;
            known.copy.size = Some(0);
            return (State::Shared, Some(journal));
        }
        (State::Begun, Some(journal))
    }

    /// # Errors
    /// A lock; a copy that is all that is known of a backup whose record is here.
    fn check_removable(&self, known: &Known) -> Result<()> {
        let copy = &known.copy;
        if let Some(until) = copy.locked_until.filter(|until| *until > self.home.now) {
            bail!("it is locked until {until:.0}");
        }
        let Some(backup) = known.backup.as_ref().filter(|_| copy.is_complete()) else {
            return Ok(());
        };
        let is_other = |it: &&BackupCopy| it.is_complete() && it.location != copy.location;
        let is_last =
            backup.copies.iter().find(is_other).is_none() && !self.here.contains(&backup.id);
        ensure!(
            !is_last,
            "it is all that is known of the backup, whose archive is not here: 'bk-rm {id}' and then 'bk-push --remove --gone {}' give it up",
            copy.location,
            id = backup.id
        );
        Ok(())
    }

    /// Tells how many were not tried.
    pub(crate) fn tell_left(&self) {
        if self.signals.caught().is_none() {
            tell_left(
                &self.progress,
                self.left_count,
                ["copy is", "copies are"],
                "removed from",
                &self.location,
            );
        }
    }

    /// A dry run: what would be removed.
    pub(crate) fn preview(mut self) -> Result<u8> {
        for known in std::mem::take(&mut self.queue) {
            match self.check_removable(&known) {
                Err(error) => self.fail(&known, &error),
                Ok(()) => self.add(known, true)?,
            }
        }
        self.report.end()?;
        Ok(self.status)
    }

    fn add(&mut self, known: Known, is_dry_run: bool) -> Result<()> {
        let copy = &known.copy;
        let mut told = told(&known);
        if is_dry_run {
            told["dry_run"] = true.into();
        }
        let row = vec![
            copy.backup_id.to_string().into(),
            human_size(copy.size.unwrap_or_default()).into(),
            known.source(),
            copy.object_key.clone().into(),
        ];
        let line = known.told(&self.home, told);
        self.report.add(&line, row)
    }

    fn fail(&mut self, known: &Known, error: &Error) {
        let (name, location) = (known.copy.backup_name.escape_debug(), &self.location);
        self.progress.warn(&format!(
            "cannot remove the copy of '{name}' at '{location}': {error:#}"
        ));
        self.status = bk_cli::SOME_FAILED;
    }
}

/// Whether the archive of a backup is where its record says, as far as its size tells.
pub(crate) fn is_here(home: &Home, backup: &Backup) -> bool {
    let there = home.storages.stat(backup.backup_path.as_ref());
    matches!(there, Ok(Some(file)) if Some(file.len()) == backup.backup_size)
}

/// An archive and its manifest.
///
/// # Errors
/// That of which it is not known how much was done.
fn remove(place: &dyn Place, going: &Going) -> Result<State> {
    let copy = &going.known.copy;
    let (key, version) = (&copy.object_key, copy.version_id.as_deref());
    if let Err(error) = place.delete(key, version) {
        let found = || place.head(key).ok();
        // What cannot be removed may be an older version: the one that the row tells of is gone then.
        let is_other =
            || version.is_some() && found().is_some_and(|it| it.version != copy.version_id);
        let is_as_before = match error.kind() {
            // An object that is not there is no error; the location is.
            Kind::NotFound => true,
            Kind::Locked(_) | Kind::Refused => !is_other(),
            // The answer may be lost of what was done.
            Kind::Unreachable | Kind::Stopped => false,
            _ => copy.size.is_some() && found().map(|it| it.size) == copy.size && !is_other(),
        };
        return if is_as_before {
            Ok(State::Stays(error.into()))
        } else {
            Err(error.into())
        };
    }
    let [manifest, _] = going.known.beside();
    place.delete(&manifest, None)?;
    if let Some(plan) = going.journal.as_ref().and_then(|it| it.plan.as_ref()) {
        // What stays there is dropped by the rule of the bucket for uploads that were not finished.
        let _ = place.abort(&plan.key, &plan.upload_id);
    }
    Ok(State::Gone)
}

fn told(known: &Known) -> Value {
    let copy = &known.copy;
    json!({
        "location": copy.location,
        "key": copy.object_key,
        "freed": copy.size,
    })
}

impl Parts for Removal {
    type Item = Going;

    fn id(going: &Going) -> i64 {
        going.known.copy.backup_id
    }

    fn mark(&mut self, session: &Session<'_>, at_most: usize) -> Result<Vec<Going>> {
        let count = self.queue.len().min(at_most).min(PART_MAX);
        let mut part: Vec<_> = self.queue.drain(..count).collect();
        if !part.is_empty() {
            self.destination.check_current(session, &self.location)?;
        }
        let rows = session.copies_at(&self.location)?.into_iter().flatten();
        let rows: HashMap<_, _> = rows.map(|row| (row.backup_id, row)).collect();
        // As they are now: another bk-push may remove the others.
        let ids: Vec<_> = part.iter().map(|it| it.copy.backup_id).collect();
        let copies: Vec<_> = session.copies_of(&ids)?.into_iter().flatten().collect();
        for known in &mut part {
            let own = copies
                .iter()
                .filter(|it| it.backup_id == known.copy.backup_id);
            if let Some(backup) = &mut known.backup {
                backup.copies = own.cloned().collect();
            }
        }
        let mut counts = HashMap::new();
        self.by_record.clear();
        for key in rows.values().map(|row| &row.object_key) {
            *counts.entry(key.clone()).or_default() += 1;
            let record = Keys::of_archive(key).record;
            let archives = self.by_record.entry(record).or_default();
            archives.insert(key.clone());
        }
        let begin = |mut known: Known| {
            let (state, journal) = self.begin(&mut known, &rows, &mut counts);
            Going {
                known,
                journal,
                state,
            }
        };
        let part: Vec<_> = part.into_iter().map(begin).collect();
        let marked = part.iter().filter(|it| matches!(it.state, State::Begun));
        session.fail_copies(&self.location, &marked.map(Self::id).collect::<Vec<_>>())?;
        Ok(part)
    }

    fn work(&mut self, part: &mut Vec<Going>) -> Result<()> {
        let mut has_failed = false;
        let most = self.place.abilities().most_at_once;
        for batch in part.chunks_mut(most) {
            if has_failed || self.signals.caught().is_some() {
                let begun = batch
                    .iter_mut()
                    .filter(|it| matches!(it.state, State::Begun));
                begun.for_each(|it| it.state = State::Left);
            } else {
                self.remove(batch);
            }
            for going in batch {
                if let State::Stays(error) | State::Failed(error) = &going.state {
                    has_failed |= is_final(error);
                }
                self.progress.count();
                let size = going.known.copy.size;
                self.progress.add(size.unwrap_or_default());
            }
        }
        if has_failed {
            self.left_count += std::mem::take(&mut self.queue).len();
        }
        Ok(())
    }

    fn record(&mut self, session: &Session<'_>, part: &mut [Going]) -> Result<()> {
        let mut gone = Vec::new();
        for going in part {
            let copy = &going.known.copy;
            let (ok, details) = match &going.state {
                State::Gone | State::Shared => {
                    gone.push(copy.backup_id);
                    (true, told(&going.known))
                }
                State::Stays(_) | State::Left if going.journal.is_some() => {
                    // It is as it was before.
                    session.restore_copy(copy)?;
                    continue;
                }
                State::Failed(error) => {
                    let reason = format!("{error:#}");
                    (
                        false,
                        json!({ "location": copy.location, "reason": reason }),
                    )
                }
                State::Stays(_) | State::Left | State::Nothing | State::Begun => continue,
            };
            session.log(&Event {
                backup: Some((copy.backup_id, &copy.backup_name)),
                event: "copy-remove",
                ok,
                details,
            })?;
        }
        session.forget_copies(&self.location, &gone)
    }

    fn tell(&mut self, going: Going) -> Result<()> {
        match going.state {
            State::Gone | State::Shared => {
                if let Some(journal) = going.journal {
                    journal.remove();
                }
                self.add(going.known, false)
            }
            State::Stays(error) | State::Failed(error) => {
                let is_final = is_final(&error);
                if is_final && self.is_given_up {
                    // It was tried at once with the one that told.
                    self.left_count += 1;
                } else {
                    self.is_given_up |= is_final;
                    self.fail(&going.known, &error);
                }
                Ok(())
            }
            State::Left => {
                self.left_count += 1;
                Ok(())
            }
            State::Nothing | State::Begun => Ok(()),
        }
    }
}
