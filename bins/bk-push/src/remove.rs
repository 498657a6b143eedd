//! Removes copies from a location: the row first says that there is no whole copy any more, then the objects go,
//! then the row.
//!
//! What is locked stays, and is told. No catalog is open while the location is asked.

use std::collections::VecDeque;

use anyhow::{Error, Result, anyhow};
use bk_cli::units::human_size;
use bk_cli::{Column, Cut, Progress, Report, listing};
use bk_remote::{Kind, Place};
use bk_schema::event::Event;
use bk_store::parts::Parts;
use bk_store::{Home, Session, Signals};
use serde_json::{Value, json};

use crate::known::Known;
use crate::upload::is_final;

pub(crate) const COLUMNS: [Column; 4] = [
    listing::ID,
    Column::right("FREED").leaves(1),
    listing::SOURCE,
    Column::left("KEY").cut(Cut::Middle, 20),
];

/// One that is to go.
pub(crate) struct Going {
    known: Known,
    state: State,
}

enum State {
    Begun,
    Gone,
    /// It stays, and is as good as it was.
    Stays(Error),
    /// It is gone in part: it is to be removed again.
    Failed(Error),
}

/// All that are to go.
pub(crate) struct Removal {
    pub(crate) home: Home,
    pub(crate) location: String,
    pub(crate) place: Box<dyn Place>,
    pub(crate) signals: Signals,
    pub(crate) progress: Progress,
    pub(crate) report: Report,
    pub(crate) status: u8,
    pub(crate) queue: VecDeque<Known>,
}

impl Removal {
    fn remove(&self, known: &Known) -> State {
        let copy = &known.copy;
        if let Some(until) = copy.locked_until.filter(|until| *until > self.home.now) {
            return State::Stays(anyhow!("it is locked until {until:.0}"));
        }
        let (key, version) = (&copy.object_key, copy.version_id.as_deref());
        if let Err(error) = self.place.delete(key, version) {
            return match error.kind() {
                // An object that is not there is no error; the location is.
                Kind::NotFound
                | Kind::Locked(_)
                | Kind::Refused
                | Kind::Unreachable
                | Kind::Stopped => State::Stays(error.into()),
                _ => State::Failed(error.into()),
            };
        }
        for key in known.beside() {
            if let Err(error) = self.place.delete(&key, None) {
                return State::Failed(error.into());
            }
        }
        State::Gone
    }

    /// A dry run: what would be removed.
    pub(crate) fn preview(mut self) -> Result<u8> {
        for known in std::mem::take(&mut self.queue) {
            match known
                .copy
                .locked_until
                .filter(|until| *until > self.home.now)
            {
                Some(until) => self.fail(&known, &anyhow!("it is locked until {until:.0}")),
                None => self.add(known, true)?,
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
        if is_final(error) {
            self.queue.clear();
        }
    }
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
        let count = self.queue.len().min(at_most);
        let part: Vec<_> = self.queue.drain(..count).collect();
        let ids: Vec<_> = part.iter().map(|known| known.copy.backup_id).collect();
        session.fail_copies(&self.location, &ids)?;
        let begin = |known| Going {
            known,
            state: State::Begun,
        };
        Ok(part.into_iter().map(begin).collect())
    }

    fn work(&mut self, part: &mut Vec<Going>) -> Result<()> {
        for going in part {
            going.state = match self.signals.caught() {
                Some(signal) => State::Stays(anyhow!("interrupted by signal {signal}")),
                None => self.remove(&going.known),
            };
        }
        Ok(())
    }

    fn record(&mut self, session: &Session<'_>, part: &mut [Going]) -> Result<()> {
        let mut gone = Vec::new();
        for going in part {
            let copy = &going.known.copy;
            let (ok, details) = match &going.state {
                State::Gone => {
                    gone.push(copy.backup_id);
                    (true, told(&going.known))
                }
                // It is as it was before.
                State::Stays(_) | State::Begun => {
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
        self.progress.count();
        match going.state {
            State::Gone => self.add(going.known, false),
            State::Stays(_) if self.signals.caught().is_some() => Ok(()),
            State::Stays(error) | State::Failed(error) => {
                self.fail(&going.known, &error);
                Ok(())
            }
            State::Begun => Ok(()),
        }
    }
}
