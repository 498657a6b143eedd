//! Work on many records in parts: a session marks some, their files are worked on, the next
//! session records what became of them and marks the next.
//!
//! So that the catalog is never held while a file is worked on, and no more files are held than a
//! process may have open. Does not know what the work is and prints nothing.

use anyhow::{Error, Result};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::archives::spare;
use crate::catalog;
use crate::home::Home;
use crate::session::Session;
use crate::signals::Signals;

/// Most records in one part.
const PART_MAX: usize = 4000;
/// Open files that a process needs beside the archives that it holds.
const OTHER_FILES: u64 = 24;

/// A program that works in parts.
pub trait Parts {
    /// One record on its way, with its archive locked while it is worked on.
    type Item;

    /// Whether rows are marked before their files are worked on. Where they are not, there is a
    /// session only where there is something to record.
    const MARKS: bool = true;

    /// The id of its record.
    fn id(item: &Self::Item) -> i64;

    /// Chooses the next part, of at most so many, and marks its rows. None: all is done.
    ///
    /// # Errors
    /// Those of the catalog; nothing is marked then.
    fn mark(&mut self, _: &Session<'_>, _at_most: usize) -> Result<Vec<Self::Item>> {
        Ok(Vec::new())
    }

    /// Works on the files of a part, until a signal comes. Where no rows are marked, it chooses
    /// the part too.
    ///
    /// # Errors
    /// Why nothing of the part can be recorded.
    fn work(&mut self, part: &mut Vec<Self::Item>) -> Result<()>;

    /// Records what became of a part.
    ///
    /// # Errors
    /// Those of the catalog; nothing is recorded then.
    fn record(&mut self, session: &Session<'_>, part: &mut [Self::Item]) -> Result<()>;

    /// Nothing of a part was recorded, whatever [`record`](Self::record) found: the session failed.
    fn rolled_back(&mut self, _part: &mut [Self::Item]) {}

    /// Tells what became of one, recorded or not.
    fn tell(&mut self, item: Self::Item) -> Result<()>;

    /// What a part that could not be recorded means, once it is told: the end, unless the program
    /// can do without.
    ///
    /// # Errors
    /// That which ends the work.
    fn unrecorded(&mut self, error: Error) -> Result<()> {
        Err(error)
    }
}

/// Works until nothing is left, or a signal comes: then what is begun is recorded and told.
///
/// # Errors
/// Those of the catalog and of the program. What was done before is told all the same; where it
/// could not be recorded, the next session that writes, of whatever program, does that.
pub fn run<P: Parts>(home: &Home, signals: &Signals, parts: &mut P) -> Result<()> {
    let (mut part, mut told) = (Vec::new(), Ok(()));
    let ended = loop {
        let worked = parts.work(&mut part);
        if part.is_empty() && !P::MARKS {
            break worked;
        }
        let next = worked.and_then(|()| step(home, signals, parts, &mut part));
        let (next, recorded) = match next {
            Ok(next) => (next, Ok(())),
            Err(error) => {
                parts.rolled_back(&mut part);
                (Vec::new(), Err(error))
            }
        };
        for item in std::mem::replace(&mut part, next) {
            // What is begun is finished, whether anybody can be told or not.
            told = told.and(parts.tell(item));
        }
        let recorded = recorded.or_else(|error| parts.unrecorded(error));
        if recorded.is_err() || (part.is_empty() && P::MARKS) {
            break recorded;
        }
    };
    if P::MARKS {
        // What was removed is free only now that it is no longer held.
        spare::allocate(home);
    }
    signals.release();
    ended.and(told)
}

/// One session: records what became of a part, and marks the next.
fn step<P: Parts>(
    home: &Home,
    signals: &Signals,
    parts: &mut P,
    part: &mut [P::Item],
) -> Result<Vec<P::Item>> {
    let own = ids::<P>(part);
    let work = |session: &Session<'_>| {
        // A signal ends the wait for the first session; from here on it finds good order.
        signals.hold();
        parts.record(session, part)?;
        if signals.caught().is_some() {
            return Ok(Vec::new());
        }
        parts.mark(session, part_len().min(spare::row_count(home)))
    };
    if P::MARKS {
        return catalog::write_marked(home, &own, work);
    }
    let recorded = catalog::write(home, work);
    signals.release();
    recorded
}

/// A session between two steps of the work on a part whose rows are marked.
///
/// # Errors
/// As [`catalog::write`].
pub fn write<P: Parts, T>(
    home: &Home,
    part: &mut [P::Item],
    work: impl FnOnce(&Session<'_>, &mut [P::Item]) -> Result<T>,
) -> Result<T> {
    let own = ids::<P>(part);
    catalog::write_marked(home, &own, |session| work(session, part))
}

fn ids<P: Parts>(part: &[P::Item]) -> Vec<i64> {
    let mut ids: Vec<_> = part.iter().map(P::id).collect();
    ids.sort_unstable();
    ids
}

/// Each record may hold two files; the limit is raised as far as it may be.
fn part_len() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // A limit that cannot be raised is still one to keep to.
    let _ = setrlimit(Resource::Nofile, limit);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let records = files.saturating_sub(OTHER_FILES) / 2;
    usize::try_from(records)
        .unwrap_or(PART_MAX)
        .clamp(1, PART_MAX)
}
