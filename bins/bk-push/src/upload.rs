//! Sends one archive to a location: whole where it is small, else in parts, several at once, each of which the
//! journal remembers, so that a later process goes on where this one was killed.
//!
//! Memory is bounded by the size of a part and the number of senders. Knows no catalog.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, Builder};

use anyhow::{Context, Result, bail};
use bk_cli::Progress;
use bk_offsite::failure::kind;
use bk_remote::{Kind, Lock, Part, PartReceipt, Place, Stored, Storing, part_bytes, sha256};
use bk_schema::clock;

use crate::journal::{Journal, Plan};
use crate::object::Object;

/// What is no larger goes in one request.
pub(crate) const WHOLE_MAX_BYTES: u64 = 16 << 20;
/// Parts that are sent at once; one more is read meanwhile.
const SENDERS: u64 = 3;
/// Memory for parts, where they have to be larger.
const MEMORY_BYTES: u64 = 64 << 20;

/// One archive on its way.
pub(crate) struct Upload<'a> {
    pub(crate) place: &'a dyn Place,
    pub(crate) key: &'a str,
    pub(crate) storing: &'a Storing,
    /// SHA-256 of the archive.
    pub(crate) archive_hash: &'a str,
    /// The public keys that it is encrypted to.
    pub(crate) recipients: &'a [String],
    /// Where the place is: an upload goes on at no other.
    pub(crate) url: String,
    pub(crate) progress: &'a Progress,
}

/// An object that is there.
pub(crate) struct Sent {
    pub(crate) version: Option<String>,
    pub(crate) size_bytes: u64,
    /// SHA-256, in hex.
    pub(crate) hash: String,
}

impl Upload<'_> {
    /// What an earlier run has sent, all of it, where only its end was not recorded.
    ///
    /// # Errors
    /// A journal that cannot be written; a location that does not answer: what is there is not sent again for that.
    pub(crate) fn sent_before(&self, journal: &mut Journal) -> Result<Option<Sent>> {
        let Some((plan, version)) = journal.stored() else {
            return Ok(None);
        };
        let is_it = plan.is_of(self.archive_hash, self.recipients)
            && plan.key == self.key
            && plan.url == self.url
            && plan.is_kept_as(self.storing);
        if is_it && self.is_there(plan.size_bytes)? {
            return Ok(Some(Sent {
                version,
                size_bytes: plan.size_bytes,
                hash: plan.object_hash,
            }));
        }
        journal.clear()?;
        Ok(None)
    }

    /// Sends the object, or the rest of it; returns what the store knows of it.
    ///
    /// # Errors
    /// Those of the location, an archive that is not what its record says, a journal that cannot be written.
    pub(crate) fn run(&self, object: &mut Object, journal: &mut Journal) -> Result<Sent> {
        Ok(Sent {
            version: self.send(object, journal)?.version,
            size_bytes: object.size_bytes,
            hash: object.hash.clone(),
        })
    }

    fn send(&self, object: &mut Object, journal: &mut Journal) -> Result<Stored> {
        let is_small = object.size_bytes <= WHOLE_MAX_BYTES;
        if is_small || !self.place.abilities().has_parts {
            // What another place had of it says nothing of this object.
            journal.clear()?;
            return match is_small {
                true => self.send_whole(object),
                false => self.send_file(object),
            };
        }
        match self.send_in_parts(object, journal) {
            Err(error) if kind(&error) == Some(Kind::UnknownUpload) => {
                // The store has dropped what was begun, or parts of it: once more, from the beginning.
                if let Some(plan) = journal.plan.clone() {
                    self.give_up(journal, &plan);
                }
                journal.clear()?;
                object.rewind()?;
                self.send_in_parts(object, journal)
            }
            sent => sent,
        }
    }

    /// Whether what the journal says is there is. Who may only put cannot ask, and believes it.
    fn is_there(&self, size_bytes: u64) -> bk_remote::Result<bool> {
        match self.place.head(self.key) {
            Ok(object) => Ok(object.size == size_bytes),
            Err(error) if error.kind() == Kind::Refused => Ok(true),
            // It may be the whole location that is not there.
            Err(error) if error.kind() == Kind::NotFound => match self.place.list_dirs("") {
                Err(error) if error.kind() != Kind::Refused => Err(error),
                _ => Ok(false),
            },
            Err(error) => Err(error),
        }
    }

    fn send_file(&self, object: &mut Object) -> Result<Stored> {
        // It is streamed by another program, which compares nothing with our record.
        object.check_first()?;
        let (file, size) = (object.file(), object.size_bytes);
        let put = |storing: &Storing| self.place.put_file(self.key, file, size, storing);
        let stored = self.replacing(object, put)?;
        self.progress.add(object.size_bytes);
        Ok(stored)
    }

    fn send_whole(&self, object: &mut Object) -> Result<Stored> {
        let bytes = object.next(object.size_bytes)?;
        object.check()?;
        let put = |storing: &Storing| self.place.put(self.key, bytes.clone(), storing);
        let stored = self.replacing(object, put)?;
        self.progress.add(object.size_bytes);
        Ok(stored)
    }

    /// What is there under this key was put there by a run whose end nobody recorded: what goes in one request has
    /// no journal, as to send it again is seldom and costs less than a journal for each. Where the store does not
    /// tell that it is the same, or whoever may only put cannot ask, it is put again.
    fn replacing(
        &self,
        object: &Object,
        put: impl Fn(&Storing) -> bk_remote::Result<Stored>,
    ) -> bk_remote::Result<Stored> {
        match put(self.storing) {
            Err(error) if error.kind() == Kind::AlreadyThere => {
                let hashes = [object.hash.clone()];
                let found = self.find(object.size_bytes, &hashes, self.storing.lock);
                let replacing = Storing {
                    may_replace: true,
                    ..self.storing.clone()
                };
                found.map_or_else(|| put(&replacing), Ok)
            }
            put => put,
        }
    }

    fn send_in_parts(&self, object: &mut Object, journal: &mut Journal) -> Result<Stored> {
        let plan = self.plan(object, journal)?;
        self.send_parts(object, journal, &plan)?;
        if let Err(error) = object.check() {
            self.give_up(journal, &plan);
            return Err(error);
        }
        let receipts: Vec<_> = journal.receipts.values().cloned().collect();
        let stored = self.complete(&plan, &receipts)?;
        journal.complete(&stored)?;
        Ok(stored)
    }

    /// The plan of the journal, if it is for this object; else a new one.
    fn plan(&self, object: &Object, journal: &mut Journal) -> Result<Plan> {
        let is_of_object = |it: &Plan| {
            it.is_of(self.archive_hash, self.recipients)
                && (&it.object_hash, it.key.as_str(), it.size_bytes)
                    == (&object.hash, self.key, object.size_bytes)
                && it.url == self.url
                && it.is_kept_as(self.storing)
                && it.lock.is_none_or(|lock| lock.until > clock::now())
        };
        match journal.plan.clone() {
            Some(plan) if is_of_object(&plan) => return Ok(plan),
            Some(plan) if plan.url == self.url => self.give_up(journal, &plan),
            _ => {}
        }
        let abilities = self.place.abilities();
        let plan = Plan {
            archive_hash: self.archive_hash.to_owned(),
            recipients: self.recipients.to_vec(),
            object_hash: object.hash.clone(),
            key: self.key.to_owned(),
            url: self.url.clone(),
            size_bytes: object.size_bytes,
            part_bytes: part_bytes(object.size_bytes, abilities.most_parts),
            storage_class: self.storing.storage_class.clone(),
            lock: self.storing.lock,
            upload_id: self.place.begin(self.key, self.storing)?,
        };
        journal.begin(plan.clone())?;
        Ok(plan)
    }

    /// Makes the object of its parts.
    fn complete(&self, plan: &Plan, receipts: &[PartReceipt]) -> Result<Stored> {
        let upload = plan.upload_id.as_str();
        let complete = |storing| self.place.complete(self.key, upload, receipts, storing);
        let hashes = [
            bk_remote::sha256_of_parts(receipts),
            plan.object_hash.clone(),
        ];
        let find = || self.find(plan.size_bytes, &hashes, plan.lock);
        match complete(self.storing) {
            // An answer that was lost: the object is there.
            Err(error) if error.kind() == Kind::UnknownUpload => Ok(find().ok_or(error)?),
            // Of a copy that was found bad, or whose end nobody recorded.
            Err(error) if error.kind() == Kind::AlreadyThere => {
                let replacing = Storing {
                    may_replace: true,
                    ..self.storing.clone()
                };
                let Some(found) = find() else {
                    return Ok(complete(&replacing)?);
                };
                // The parts are of no use; what stays is dropped by the rule of the bucket.
                let _ = self.place.abort(self.key, upload);
                Ok(found)
            }
            completed => Ok(completed?),
        }
    }

    /// The object, if the place tells that it is what was sent, and locked for as long.
    fn find(&self, size_bytes: u64, hashes: &[String], lock: Option<Lock>) -> Option<Stored> {
        let found = self.place.head(self.key).ok()?;
        let is_same =
            found.size == size_bytes && found.sha256.is_some_and(|it| hashes.contains(&it));
        let is_locked = lock.is_none_or(|lock| found.locked_until >= Some(lock.until));
        (is_same && is_locked).then_some(Stored {
            version: found.version,
            etag: found.etag,
            is_confirmed: true,
        })
    }

    fn give_up(&self, journal: &mut Journal, plan: &Plan) {
        let upload = plan.upload_id.as_str();
        // What stays there is dropped by the rule of the bucket for uploads that were not finished.
        let _ = self.place.abort(&plan.key, upload);
        // The next run finds that the upload is not known.
        let _ = journal.clear();
    }

    /// Reads the archive and has each part sent that the store does not have.
    fn send_parts(&self, object: &mut Object, journal: &mut Journal, plan: &Plan) -> Result<()> {
        let upload = plan.upload_id.as_str();
        let senders = (MEMORY_BYTES / plan.part_bytes).saturating_sub(1);
        let senders = senders.clamp(1, SENDERS);
        let (to_send, parts) = mpsc::sync_channel::<Part>(0);
        let (sent, results) = mpsc::channel();
        let parts = Mutex::new(parts);
        thread::scope(|scope| {
            for _ in 0..senders {
                let (parts, sent) = (&parts, sent.clone());
                let work = move || self.send_each(upload, parts, &sent);
                let started = Builder::new().spawn_scoped(scope, work);
                started.context("cannot start a thread")?;
            }
            drop(sent);
            let read = self.read_parts(object, journal, plan, &to_send, &results);
            drop(to_send);
            // Those that are under way.
            let rest = results.iter().map(|result| self.note(journal, result));
            let rest = rest.fold(Ok(()), Result::and);
            read.and(rest)
        })
    }

    fn read_parts(
        &self,
        object: &mut Object,
        journal: &mut Journal,
        plan: &Plan,
        to_send: &mpsc::SyncSender<Part>,
        results: &Receiver<bk_remote::Result<PartReceipt>>,
    ) -> Result<()> {
        let known: BTreeMap<_, _> = journal
            .receipts
            .iter()
            .map(|(number, receipt)| (*number, receipt.sha256.clone()))
            .collect();
        let (mut offset, mut number) = (0, 1);
        while offset < object.size_bytes {
            let bytes = object.next(plan.part_bytes.min(object.size_bytes - offset))?;
            let length = bytes.len() as u64;
            if length == 0 {
                bail!("the archive became shorter while it was read");
            }
            // What was read then may not be what is read now.
            let is_known = known.get(&number);
            if is_known.is_some_and(|it| *it == sha256(&bytes)) {
                self.progress.add(length);
            } else {
                let part = Part {
                    number,
                    offset,
                    bytes,
                };
                to_send.send(part).context("nobody sends any more")?;
            }
            for result in results.try_iter() {
                self.note(journal, result)?;
            }
            offset += length;
            number += 1;
        }
        Ok(())
    }

    fn note(&self, journal: &mut Journal, result: bk_remote::Result<PartReceipt>) -> Result<()> {
        let receipt = result?;
        let length = receipt.bytes;
        journal.add(receipt)?;
        self.progress.add(length);
        Ok(())
    }

    /// Sends parts until there are none. After a failure it takes what comes and sends no more, so that the
    /// reader never waits for somebody who is gone.
    fn send_each(
        &self,
        upload: &str,
        parts: &Mutex<Receiver<Part>>,
        sent: &Sender<bk_remote::Result<PartReceipt>>,
    ) {
        let mut has_failed = false;
        while let Some(part) = next_part(parts) {
            if has_failed {
                continue;
            }
            let result = self.place.part(self.key, upload, part);
            has_failed = result.is_err();
            // The receiver lives as long as the senders.
            let _ = sent.send(result);
        }
    }
}

fn next_part(parts: &Mutex<Receiver<Part>>) -> Option<Part> {
    // It is poisoned by a sender that panicked: then nothing more is to be sent.
    parts.lock().ok()?.recv().ok()
}
