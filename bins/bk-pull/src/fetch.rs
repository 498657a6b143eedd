//! Fetches small objects whole, several at once.
//!
//! Knows not what is in them.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, Builder};

use anyhow::{Context, Result};
use bk_remote::Place;

/// So many requests wait for their answer at the same time.
const THREADS: usize = 16;
/// A larger object is none of these.
const OBJECT_MAX_BYTES: usize = 256 << 20;

/// The number of a key, and its object.
type Fetched = (usize, Result<Vec<u8>>);

/// Gives the objects of these keys to `take`, by their numbers, in no order. What `take` fails with ends it.
///
/// # Errors
/// Those of `take`; no thread to be had.
pub(crate) fn each(
    place: &dyn Place,
    keys: &[String],
    mut take: impl FnMut(usize, Result<Vec<u8>>) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(THREADS);
        for _ in 0..THREADS.min(keys.len()) {
            let (sender, next) = (sender.clone(), &next);
            let work = move || fetch(place, keys, next, &sender);
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
fn fetch(place: &dyn Place, keys: &[String], next: &AtomicUsize, sender: &SyncSender<Fetched>) {
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(key) = keys.get(at) else { break };
        let mut content = Content(Vec::new());
        let fetched = place.get(key, &mut content);
        let object = fetched.map(|_| content.0).map_err(anyhow::Error::from);
        if sender.send((at, object)).is_err() {
            break;
        }
    }
}

struct Content(Vec<u8>);

impl Write for Content {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OBJECT_MAX_BYTES {
            return Err(io::Error::other("it is too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
