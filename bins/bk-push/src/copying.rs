//! Copies archives one after the other: a row of the catalog begins each copy, and another says that it is
//! there. Small ones share their sessions.
//!
//! No catalog is open while an archive is read or sent.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Error, Result, anyhow, bail};
use bk_cli::listing::{self, Listed};
use bk_cli::units::human_size;
use bk_cli::{Column, Cut, Progress, Report, copies};
use bk_offsite::Destination;
use bk_offsite::failure::{is_final, kind, tell_left};
use bk_offsite::sidecars::{Held, Keys};
use bk_remote::{Kind, Place, Storing};
use bk_schema::copy::{BackupCopy, CopyStatus};
use bk_schema::event::Event;
use bk_schema::host::Host;
use bk_schema::record::{Backup, Status};
use bk_store::parts::Parts;
use bk_store::{Home, Session, Signals, manifest};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::journal::Journal;
use crate::object::Object;
use crate::spool::{Encryption, Stopped};
use crate::upload::{Sent, Upload, WHOLE_MAX_BYTES};

pub(crate) const COLUMNS: [Column; 6] = [
    listing::ID,
    Column::right("SIZE").leaves(2),
    Column::right("SECONDS").leaves(3),
    Column::left("LOCATION").leaves(1),
    listing::SOURCE,
    Column::left("KEY").cut(Cut::Middle, 20),
];

/// So many bytes to be sent make a part.
const PART_BYTES: u64 = 64 << 20;

/// A backup that is to be copied, and the line that it came by.
pub(crate) struct Due {
    pub(crate) backup: Backup,
    pub(crate) line: Map<String, Value>,
}

/// One that is being copied.
pub(crate) struct Going {
    due: Due,
    state: State,
    seconds: f64,
}

enum State {
    /// The location has it already.
    There,
    Begun(Box<Begun>),
    /// The object is there, with its record beside it; the journal stays until the catalog knows.
    Copied(Box<(Journal, BackupCopy, String)>),
    /// A signal came: the next run goes on.
    Left,
    /// Nothing was done of it: a signal came before, or the location failed another. Until that is recorded,
    /// nobody else begins.
    Untouched(Box<Begun>),
    /// There is no copy; where a row says that one was begun, nobody else begins until that is recorded.
    Failed(Error, Option<Box<Begun>>),
}

/// A copy whose row says that it is being made.
struct Begun {
    journal: Journal,
    copy: BackupCopy,
    host: String,
    /// The id of this catalog.
    catalog: String,
    keys: Keys,
    storing: Storing,
    /// What was known before of a copy there, which is no copy any more.
    earlier: Option<BackupCopy>,
}

impl Begun {
    /// There is no copy; an object without what lies beside it may have to be removed one day.
    fn record_failure(&self, session: &Session<'_>, now: Timestamp) -> Result<()> {
        if self.copy.size.is_some() {
            return session.restore_copy(&BackupCopy {
                status: CopyStatus::Failed,
                copied_at: Some(now),
                ..self.copy.clone()
            });
        }
        session.fail_copies(&self.copy.location, &[self.copy.backup_id])?;
        self.restore_earlier(session)
    }

    /// Records again what was known of an object there: it may have to be removed one day.
    fn restore_earlier(&self, session: &Session<'_>) -> Result<()> {
        match &self.earlier {
            Some(earlier) if earlier.copied_at.is_some() => session.restore_copy(earlier),
            _ => Ok(()),
        }
    }
}

/// All that are to be copied to one location.
pub(crate) struct Copies {
    pub(crate) home: Home,
    pub(crate) location: String,
    pub(crate) place: Box<dyn Place>,
    pub(crate) destination: Destination,
    pub(crate) signals: Signals,
    pub(crate) progress: Progress,
    pub(crate) report: Report,
    pub(crate) status: u8,
    pub(crate) queue: VecDeque<Due>,
    /// How many were not tried.
    pub(crate) left_count: usize,
    /// Whether one failed for a reason by which all would.
    pub(crate) is_given_up: bool,
    /// Whether one was copied.
    pub(crate) has_copied: bool,
}

impl Copies {
    fn next_part(&mut self, at_most: usize) -> Vec<Due> {
        let (mut part, mut bytes) = (Vec::new(), 0);
        while part.len() < at_most
            && bytes < PART_BYTES
            && let Some(due) = self.queue.pop_front()
        {
            bytes += due.backup.backup_size.unwrap_or_default();
            part.push(due);
        }
        part
    }

    /// How the objects of a backup are to be kept; `None` where the location has it already.
    ///
    /// # Errors
    /// Why it is not to be copied.
    pub(crate) fn storing(&self, backup: &Backup) -> Result<Option<Storing>> {
        if backup.status != Status::Completed {
            bail!(backup.status.obstacle().unwrap_or_default());
        }
        if backup.has_copy(&self.location) {
            return Ok(None);
        }
        if let Some(obstacle) = copies::remote_obstacle(&self.home, backup) {
            bail!(obstacle);
        }
        self.destination.storing(backup, self.home.now).map(Some)
    }

    /// Begins a copy by its row, by the record as it is now.
    fn begin(
        &self,
        session: &Session<'_>,
        (host, catalog): (&Host, &str),
        backup: &Backup,
    ) -> Result<State> {
        let storing = match self.storing(backup) {
            Ok(Some(storing)) => storing,
            Ok(None) => return Ok(State::There),
            Err(error) => return Ok(State::Failed(error, None)),
        };
        let journal = Journal::take(&self.home.dir, &self.location, backup.id);
        let journal = match journal {
            Ok(Some(journal)) => journal,
            Ok(None) => {
                let why = anyhow!("another bk-push is at work on it");
                return Ok(State::Failed(why, None));
            }
            Err(error) => return Ok(State::Failed(error, None)),
        };
        let host = host.of(backup).unwrap_or(&host.name);
        let hash = backup.backup_hash.clone().unwrap_or_default();
        let recipients = self.destination.recipients.clone();
        let keys = Keys::new(host, backup, &hash, !recipients.is_empty());
        let copy = BackupCopy {
            backup_id: backup.id,
            backup_name: backup.backup_name.clone(),
            location: self.location.clone(),
            object_key: keys.archive.clone(),
            recipients,
            storage_class: storing.storage_class.clone(),
            ..BackupCopy::default()
        };
        let mut copies = backup.copies.iter();
        let earlier = copies.find(|it| it.location == self.location).cloned();
        // Until it is replaced, the object is what it was.
        let same = earlier
            .as_ref()
            .filter(|it| it.object_key == copy.object_key);
        session.begin_copy(same.unwrap_or(&copy))?;
        Ok(State::Begun(Box::new(Begun {
            journal,
            copy,
            host: host.to_owned(),
            catalog: catalog.to_owned(),
            keys,
            storing,
            earlier,
        })))
    }

    fn copy(&self, going: Going) -> Going {
        let State::Begun(begun) = going.state else {
            return going;
        };
        let (mut begun, began) = (*begun, Instant::now());
        let sent = self.send(&going.due.backup, &mut begun);
        let state = match sent {
            Ok(record) => State::Copied(Box::new((begun.journal, begun.copy, record))),
            Err(error) if kind(&error) == Some(Kind::Stopped) || error.is::<Stopped>() => {
                State::Left
            }
            Err(error) => State::Failed(error, Some(Box::new(begun))),
        };
        Going {
            state,
            seconds: began.elapsed().as_secs_f64(),
            ..going
        }
    }

    /// The archive, then what lies beside it: who finds that, finds the archive. Returns the text of its record
    /// there.
    fn send(&self, backup: &Backup, begun: &mut Begun) -> Result<String> {
        let (place, keys) = (self.place.as_ref(), &begun.keys);
        let archive_hash = backup.backup_hash.as_deref().unwrap_or_default();
        let recipients = &self.destination.recipients;
        let upload = Upload {
            place,
            key: &keys.archive,
            storing: &begun.storing,
            archive_hash,
            recipients,
            url: self.destination.url(),
            progress: &self.progress,
        };
        let is_stopped = || self.signals.caught().is_some();
        let encryption = (!recipients.is_empty()).then_some(Encryption {
            recipients,
            progress: &self.progress,
            is_stopped: &is_stopped,
        });
        let sent = match upload.sent_before(&mut begun.journal)? {
            Some(sent) => sent,
            None => self.send_archive(&upload, encryption.as_ref(), backup, &mut begun.journal)?,
        };
        let copy = &mut begun.copy;
        copy.version_id = sent.version;
        copy.size = Some(sent.size_bytes);
        copy.hash = Some(sent.hash);
        copy.parts_hash = begun.journal.parts_hash();
        // One that went on has the lock that it was begun with.
        let plan = begun.journal.plan.as_ref();
        let lock = plan.map_or(begun.storing.lock, |plan| plan.lock);
        begun.copy.locked_until = lock.map(|lock| lock.until);
        // They are what a machine that has lost all reads first: no class that must be thawed.
        let storing = Storing {
            may_replace: true,
            storage_class: None,
            ..begun.storing.clone()
        };
        if let Some(manifest) = manifest::file(&self.home, backup)? {
            let manifest = match &encryption {
                Some(encryption) => encryption.unnamed(&manifest, &begun.journal)?,
                None => manifest,
            };
            let size = manifest.metadata()?.len();
            place.put_file(&keys.manifest, &manifest, size, &storing)?;
        }
        let held = Held::new(backup, &begun.host, &begun.catalog, &begun.copy)?;
        let record = held.text()?;
        place.put(&keys.record, format!("{record}\n").into_bytes(), &storing)?;
        Ok(record)
    }

    fn send_archive(
        &self,
        upload: &Upload<'_>,
        encryption: Option<&Encryption<'_>>,
        backup: &Backup,
        journal: &mut Journal,
    ) -> Result<Sent> {
        self.home.storages.check(backup.backup_path.as_ref())?;
        let archive = Object::open(backup)?;
        let may_go_on = archive.size_bytes > WHOLE_MAX_BYTES;
        let mut object = match encryption {
            Some(encryption) => encryption.object(archive, journal, may_go_on)?,
            None => archive,
        };
        upload.run(&mut object, journal)
    }

    pub(crate) fn fail(&mut self, backup: &Backup, error: &Error) {
        let (name, location) = (backup.backup_name.escape_debug(), &self.location);
        self.progress
            .warn(&format!("cannot copy '{name}' to '{location}': {error:#}"));
        self.status = bk_cli::SOME_FAILED;
    }

    /// Tells how many were not tried, as they would have failed for the same reason.
    pub(crate) fn tell_left(&self) {
        if self.signals.caught().is_none() {
            tell_left(
                &self.progress,
                self.left_count,
                ["backup is", "backups are"],
                "copied to",
                &self.location,
            );
        }
    }

    fn tell_copied(
        &mut self,
        due: Due,
        journal: Journal,
        copy: &BackupCopy,
        seconds: f64,
    ) -> Result<()> {
        if !copy.is_complete() {
            // The catalog does not have it: the next run records it, by the journal.
            return Ok(());
        }
        journal.remove();
        self.has_copied = true;
        let mut backup = due.backup;
        let told = told(copy, seconds);
        let row = vec![
            backup.id.to_string().into(),
            human_size(copy.size.unwrap_or_default()).into(),
            format!("{seconds:.1}").into(),
            copy.location.clone().into(),
            listing::source_cell(&backup),
            copy.object_key.clone().into(),
        ];
        backup.copies.retain(|it| it.location != copy.location);
        backup.copies.push(copy.clone());
        let listed = Listed::stat(&self.home, backup).with([("copy", told)], due.line);
        self.report.add(&listed, row)
    }
}

/// The key `copy` of a line, and what the ledger keeps.
fn told(copy: &BackupCopy, seconds: f64) -> Value {
    json!({
        "location": copy.location,
        "key": copy.object_key,
        "bytes": copy.size,
        "seconds": seconds,
        "encrypted": !copy.recipients.is_empty(),
        "locked_until": copy.locked_until,
    })
}

impl Parts for Copies {
    type Item = Going;

    fn id(going: &Going) -> i64 {
        going.due.backup.id
    }

    fn mark(&mut self, session: &Session<'_>, at_most: usize) -> Result<Vec<Going>> {
        let part = self.next_part(at_most);
        if !part.is_empty() {
            self.destination.check_current(session, &self.location)?;
        }
        let (host, catalog) = (session.host()?, session.settle_catalog_id()?);
        let rows = session.find_ids(part.iter().map(|due| due.backup.id))?;
        let begin = |(due, row): (Due, Result<Backup>)| {
            let (due, state) = match row {
                Ok(backup) => {
                    let state = self.begin(session, (&host, &catalog), &backup)?;
                    (Due { backup, ..due }, state)
                }
                Err(error) => (due, State::Failed(error, None)),
            };
            Ok(Going {
                due,
                state,
                seconds: 0.0,
            })
        };
        part.into_iter().zip(rows).map(begin).collect()
    }

    fn work(&mut self, part: &mut Vec<Going>) -> Result<()> {
        let mut has_failed = false;
        for going in std::mem::take(part) {
            let going = match has_failed || self.signals.caught().is_some() {
                true => untouched(going),
                false => self.copy(going),
            };
            if let State::Failed(error, _) = &going.state {
                has_failed |= is_final(error);
            }
            part.push(going);
        }
        if has_failed {
            self.is_given_up = true;
            self.left_count += std::mem::take(&mut self.queue).len();
        }
        Ok(())
    }

    fn record(&mut self, session: &Session<'_>, part: &mut [Going]) -> Result<()> {
        for going in part {
            let backup = &going.due.backup;
            let event = match &mut going.state {
                State::Copied(copied) => {
                    let (_, copy, record) = &mut **copied;
                    *copy = session.complete_copy(copy, record)?;
                    Event::of(backup, "push", true, told(copy, going.seconds))
                }
                State::Failed(error, Some(begun)) => {
                    begun.record_failure(session, self.home.now)?;
                    let reason = format!("{error:#}");
                    let details = json!({ "location": self.location, "reason": reason });
                    Event::of(backup, "push", false, details)
                }
                State::Untouched(begun) => {
                    session.forget_copies(&self.location, &[backup.id])?;
                    begun.restore_earlier(session)?;
                    continue;
                }
                State::There | State::Begun(_) | State::Left | State::Failed(_, None) => continue,
            };
            session.log(&event)?;
        }
        Ok(())
    }

    fn rolled_back(&mut self, part: &mut [Going]) {
        for going in part {
            if let State::Copied(copied) = &mut going.state {
                copied.1.status = CopyStatus::Copying;
            }
        }
    }

    fn tell(&mut self, going: Going) -> Result<()> {
        self.progress.count();
        match going.state {
            State::Copied(copied) => {
                let (journal, copy, _) = *copied;
                self.tell_copied(going.due, journal, &copy, going.seconds)
            }
            State::Failed(error, _) => {
                self.fail(&going.due.backup, &error);
                Ok(())
            }
            State::Untouched(begun) => {
                begun.journal.remove();
                self.left_count += 1;
                Ok(())
            }
            State::Left => {
                self.left_count += 1;
                Ok(())
            }
            State::There | State::Begun(_) => Ok(()),
        }
    }
}

/// One that is begun and not tried; an upload of an earlier run stays as it is.
fn untouched(going: Going) -> Going {
    let state = match going.state {
        State::Begun(begun) if begun.journal.plan.is_none() => State::Untouched(begun),
        State::Begun(_) => State::Left,
        state => state,
    };
    Going { state, ..going }
}
