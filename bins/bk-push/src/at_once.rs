//! Several that wait for a location at once.
//!
//! Knows no location.

use std::thread::{self, Builder};

use anyhow::{Context, Result, anyhow};

/// What comes of each, in their order. One alone is worked on by this thread.
pub(crate) fn at_once<T: Sync, R: Send>(
    batch: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    if let [one] = batch {
        return vec![work(one)];
    }
    let work = &work;
    thread::scope(|scope| {
        let begin = |item| {
            let begun = Builder::new().spawn_scoped(scope, move || work(item));
            begun.context("cannot start a thread")
        };
        // All are begun before the first is waited for.
        let begun: Vec<_> = batch.iter().map(begin).collect();
        let panicked = |_| Err(anyhow!("the thread that waited for it panicked"));
        let ended = begun
            .into_iter()
            .map(|begun| begun?.join().unwrap_or_else(panicked));
        ended.collect()
    })
}
