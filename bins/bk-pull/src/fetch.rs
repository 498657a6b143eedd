//! Fetches small objects whole, several at once.
//!
//! Knows not what is in them.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, Builder};

use anyhow::{Context, Result};
use bk_remote::Place;

/// The number of a key, and its object.
type Fetched = (usize, Result<Vec<u8>>);

/// Gives the objects of these keys to `take`, by their numbers, in no order; one that is larger than `max_bytes` is an
/// error. What `take` fails with ends it.
///
/// # Errors
/// Those of `take`; no thread to be had.
pub(crate) fn each(
    place: &dyn Place,
    keys: &[String],
    max_bytes: u64,
    mut take: impl FnMut(usize, Result<Vec<u8>>) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let most_at_once = place.abilities().most_at_once;
        let (sender, receiver) = sync_channel(most_at_once);
        for _ in 0..most_at_once.min(keys.len()) {
            let (sender, next) = (sender.clone(), &next);
            let work = move || fetch(place, keys, max_bytes, next, &sender);
            let started = Builder::new().spawn_scoped(scope, work);
            started.context("cannot start a thread")?;
        }
        drop(sender);
        for (at, object) in receiver {
            take(at, object)?;
        }
        Ok(())
    })
}

/// The next ones, until none is left or nobody takes them.
fn fetch(
    place: &dyn Place,
    keys: &[String],
    max_bytes: u64,
    next: &AtomicUsize,
    sender: &SyncSender<Fetched>,
) {
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(key) = keys.get(at) else { break };
        let mut content = Vec::new();
        let mut limited = Limited {
            to: &mut content,
            left_bytes: max_bytes,
        };
        let fetched = place.get(key, &mut limited);
        let object = fetched.map(|_| content).map_err(anyhow::Error::from);
        if sender.send((at, object)).is_err() {
            break;
        }
    }
}

/// Takes no more than it should.
pub(crate) struct Limited<W> {
    pub(crate) to: W,
    pub(crate) left_bytes: u64,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left_bytes {
            return Err(io::Error::other("it is too large"));
        }
        let count = self.to.write(bytes)?;
        self.left_bytes -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
