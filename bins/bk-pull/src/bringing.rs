//! Brings archives one after the other: each is locked under the lock of the catalog before it is read, and recorded
//! when it is there. Small ones share their sessions.
//!
//! No catalog is open while an object is read.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Context, Error, Result, anyhow, ensure};
use bk_cli::listing::{self, Listed};
use bk_cli::units::human_size;
use bk_cli::{Column, Cut, Progress, Report};
use bk_offsite::failure::{is_final, kind, tell_left};
use bk_remote::{Kind, Place};
use bk_schema::event::Event;
use bk_schema::metadata::REMOTE;
use bk_schema::record::Backup;
use bk_store::archives::partial::{Partial, partial_path, remove_abandoned};
use bk_store::parts::Parts;
use bk_store::storage::Storage;
use bk_store::{Session, Signals};
use serde_json::{Value, json};

use crate::bring::cannot;
use crate::object::Fetch;
use crate::rules::{Plan, Rules, check_space, is_encrypted, is_there};

pub(crate) const COLUMNS: [Column; 6] = [
    listing::ID,
    Column::right("SIZE").leaves(2),
    Column::right("SECONDS").leaves(3),
    Column::left("LOCATION").leaves(1),
    listing::SOURCE,
    Column::left("PATH").cut(Cut::Middle, 20),
];

/// So many bytes to be read make a part.
const PART_BYTES: u64 = 64 << 20;

/// One on its way.
pub(crate) struct Going {
    plan: Plan,
    state: State,
    seconds: f64,
}

enum State {
    /// The archive is in its place already.
    There,
    /// Its partial is locked, so that nobody else takes the place.
    Begun(Partial),
    /// The archive is in its place, and locked until that is recorded.
    Brought(Partial),
    /// Nothing was done of it: a signal came, or the location failed another.
    Left,
    /// Why there is none; whether it was begun.
    Failed(Error, bool),
}

/// All that are to be brought from one location.
pub(crate) struct Bringing {
    pub(crate) rules: Rules,
    pub(crate) place: Box<dyn Place>,
    pub(crate) signals: Signals,
    pub(crate) progress: Progress,
    pub(crate) report: Report,
    pub(crate) status: u8,
    /// Directories that the catalog does not know yet.
    pub(crate) storages: Vec<Storage>,
    pub(crate) queue: VecDeque<Plan>,
    /// How many were not tried.
    pub(crate) left_count: usize,
}

impl Bringing {
    fn next_part(&mut self, at_most: usize) -> Vec<Plan> {
        let (mut part, mut bytes) = (Vec::new(), 0);
        while part.len() < at_most
            && bytes < PART_BYTES
            && let Some(plan) = self.queue.pop_front()
        {
            bytes += plan
                .copy
                .as_ref()
                .and_then(|it| it.size)
                .unwrap_or_default();
            part.push(plan);
        }
        part
    }

    /// Begins with an archive, by the record as it is now.
    fn begin(&self, plan: &Plan, now: Result<Backup>) -> Result<State> {
        check_unchanged(plan, &now?)?;
        let path = &plan.path;
        if plan.copy.is_none() {
            return Ok(State::There);
        }
        let removed = remove_abandoned(path);
        removed.with_context(|| format!("'{}'", partial_path(path).display()))?;
        // Another may have brought it.
        if is_there(path, &plan.backup)? {
            return Ok(State::There);
        }
        check_space(path, &plan.backup)?;
        Partial::make(path).map(State::Begun)
    }

    fn bring(&self, mut going: Going) -> Going {
        let (State::Begun(mut partial), Some(copy)) = (going.state, &going.plan.copy) else {
            return Going {
                state: State::Left,
                ..going
            };
        };
        let began = Instant::now();
        let fetch = Fetch {
            place: self.place.as_ref(),
            location: &self.rules.location,
            progress: &self.progress,
            identities: self.rules.identities.as_ref(),
        };
        let path = partial_path(&going.plan.path);
        let fetched = fetch.run(&going.plan.backup, copy, &partial.file, &path);
        going.state = match fetched.and_then(|()| partial.commit()) {
            Ok(()) => State::Brought(partial),
            Err(error) if kind(&error) == Some(Kind::Stopped) => State::Left,
            Err(error) => State::Failed(self.explained(error), true),
        };
        going.seconds = began.elapsed().as_secs_f64();
        going
    }

    /// An object that is gone is no location that is gone.
    fn explained(&self, error: Error) -> Error {
        if kind(&error) != Some(Kind::NotFound) {
            return error;
        }
        match self.place.list_dirs("") {
            Err(error) => error.into(),
            Ok(_) => anyhow!(
                "{error:#}: 'bk-push --check {}' records that",
                self.rules.location
            ),
        }
    }

    fn fail(&mut self, backup: &Backup, error: &Error) {
        self.progress
            .warn(&cannot(&self.rules, &backup.backup_name, error));
        self.status = bk_cli::SOME_FAILED;
    }

    /// Tells how many were not tried, as they would have failed for the same reason.
    pub(crate) fn tell_left(&self) {
        if self.signals.caught().is_none() {
            tell_left(
                &self.progress,
                self.left_count,
                ["backup is", "backups are"],
                "brought from",
                &self.rules.location,
            );
        }
    }

    fn add(&mut self, going: Going) -> Result<()> {
        let told = self.told(&going);
        let Going {
            plan,
            state,
            seconds,
        } = going;
        // Whoever reads the line may be slow, or be at work on the archive.
        drop(state);
        let Plan {
            backup, line, path, ..
        } = plan;
        let row = vec![
            backup.id.to_string().into(),
            human_size(backup.backup_size.unwrap_or_default()).into(),
            format!("{seconds:.1}").into(),
            self.rules.location.clone().into(),
            listing::source_cell(&backup),
            path.to_string_lossy().into_owned().into(),
        ];
        let listed = Listed::stat(&self.rules.home, backup).with([("pull", told)], line);
        self.report.add(&listed, row)
    }

    /// The key `pull` of a line, and what the ledger keeps.
    fn told(&self, going: &Going) -> Value {
        let copy = going.plan.copy.as_ref();
        let copy = copy.filter(|_| matches!(going.state, State::Brought(_)));
        json!({
            "location": self.rules.location,
            "key": copy.map(|it| &it.object_key),
            "path": going.plan.path.to_string_lossy(),
            "bytes": copy.map_or(Some(0), |it| it.size),
            "seconds": going.seconds,
            "encrypted": copy.is_some_and(is_encrypted),
        })
    }

    /// Whether the archive is where its record says.
    fn is_home(&self, going: &Going) -> bool {
        let is_there = matches!(going.state, State::There | State::Brought(_));
        is_there && self.rules.dir.is_none()
    }
}

/// # Errors
/// A record that is not what was planned by: what is brought would be at no place of it.
fn check_unchanged(plan: &Plan, now: &Backup) -> Result<()> {
    let facts = |it: &Backup| (it.status, it.backup_path.clone(), it.backup_hash.clone());
    ensure!(
        facts(now) == facts(&plan.backup),
        "its record has changed meanwhile: run it again"
    );
    Ok(())
}

impl Parts for Bringing {
    type Item = Going;

    fn id(going: &Going) -> i64 {
        going.plan.backup.id
    }

    fn mark(&mut self, session: &Session<'_>, at_most: usize) -> Result<Vec<Going>> {
        for storage in std::mem::take(&mut self.storages) {
            session.keep_storage(&storage)?;
        }
        let part = self.next_part(at_most);
        let rows = session.find_ids(part.iter().map(|plan| plan.backup.id))?;
        let begin = |(plan, row): (Plan, Result<Backup>)| Going {
            state: self
                .begin(&plan, row)
                .unwrap_or_else(|error| State::Failed(error, false)),
            plan,
            seconds: 0.0,
        };
        Ok(part.into_iter().zip(rows).map(begin).collect())
    }

    fn work(&mut self, part: &mut Vec<Going>) -> Result<()> {
        let mut has_failed = false;
        for going in std::mem::take(part) {
            let is_begun = matches!(going.state, State::Begun(_));
            let going = match has_failed || self.signals.caught().is_some() {
                _ if !is_begun => going,
                true => Going {
                    state: State::Left,
                    ..going
                },
                false => self.bring(going),
            };
            if let State::Failed(error, _) = &going.state {
                has_failed |= is_final(error);
            }
            part.push(going);
        }
        if has_failed {
            self.left_count += std::mem::take(&mut self.queue).len();
        }
        Ok(())
    }

    fn record(&mut self, session: &Session<'_>, part: &mut [Going]) -> Result<()> {
        let rows = session.find_ids(part.iter().map(Self::id))?;
        for (going, row) in part.iter_mut().zip(rows) {
            if self.is_home(going) {
                let now = row.and_then(|now| {
                    check_unchanged(&going.plan, &now)?;
                    Ok(now)
                });
                match now {
                    Ok(mut now) => {
                        // It is here from now on.
                        if now.backup_metadata.shift_remove(REMOTE).is_some() {
                            session.update(&now)?;
                        }
                        going.plan.backup = now;
                    }
                    Err(error) => going.give_back(error),
                }
            }
            let backup = &going.plan.backup;
            let event = match &going.state {
                State::Brought(_) => Event::of(backup, "pull", true, self.told(going)),
                State::Failed(error, true) => {
                    let reason = format!("{error:#}");
                    let details = json!({ "location": self.rules.location, "reason": reason });
                    Event::of(backup, "pull", false, details)
                }
                _ => continue,
            };
            session.log(&event)?;
        }
        Ok(())
    }

    fn tell(&mut self, going: Going) -> Result<()> {
        match going.state {
            State::There => self.add(going),
            State::Brought(_) => {
                self.progress.count();
                self.add(going)
            }
            State::Failed(error, _) => {
                self.fail(&going.plan.backup, &error);
                Ok(())
            }
            State::Left | State::Begun(_) => {
                self.left_count += 1;
                Ok(())
            }
        }
    }
}

impl Going {
    /// Takes an archive away that no record has at its place any more.
    fn give_back(&mut self, error: Error) {
        let state = std::mem::replace(&mut self.state, State::Left);
        let is_brought = matches!(state, State::Brought(_));
        if let State::Brought(partial) = state {
            partial.remove();
        }
        self.state = State::Failed(error, is_brought);
    }
}
