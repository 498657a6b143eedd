//! Work shared among threads, whose results come in the order of the jobs.
//!
//! Bounded queues bound the memory: who gives a job waits until there is room. Begins no thread
//! and does not know what the work is.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

/// A job, and the place of its result.
type Job<J, R> = (J, SyncSender<R>);

/// Takes jobs, and results that need no work, each in its place.
pub(crate) struct Jobs<J, R> {
    jobs: SyncSender<Job<J, R>>,
    order: SyncSender<Receiver<R>>,
}

/// What a thread of the pool runs.
pub(crate) struct Worker<J, R>(Arc<Mutex<Receiver<Job<J, R>>>>);

/// The results in the order of their jobs, to the end of these. A job whose thread panics has none.
pub(crate) struct Results<R> {
    order: Receiver<Receiver<R>>,
    current: Option<Receiver<R>>,
}

/// A pool in which at most so many results are under way or waited for. All [`Worker`]s are to
/// live in threads: whoever gives a job waits for them, and never for the dead.
pub(crate) fn pool<J, R>(ahead: usize) -> (Jobs<J, R>, Worker<J, R>, Results<R>) {
    let (job_in, job_out) = sync_channel(1);
    let (order_in, order_out) = sync_channel(ahead);
    let jobs = Jobs {
        jobs: job_in,
        order: order_in,
    };
    let results = Results {
        order: order_out,
        current: None,
    };
    (jobs, Worker(Arc::new(Mutex::new(job_out))), results)
}

impl<J, R> Jobs<J, R> {
    /// Gives one that is to be worked on. Whether anybody waits for it.
    pub(crate) fn job(&self, job: J) -> bool {
        let place = self.place();
        place.is_some_and(|place| self.jobs.send((job, place)).is_ok())
    }

    /// Gives a result. Whether anybody waits for it.
    pub(crate) fn result(&self, result: R) -> bool {
        self.place().is_some_and(|place| place.send(result).is_ok())
    }

    /// A place for any number of results, until it is dropped; `None` where nobody waits for them.
    pub(crate) fn place(&self) -> Option<SyncSender<R>> {
        let (place, awaited) = sync_channel(1);
        self.order.send(awaited).ok()?;
        Some(place)
    }
}

impl<J, R> Clone for Worker<J, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<J, R> Worker<J, R> {
    /// Works until no more jobs are to come.
    pub(crate) fn run(self, mut work: impl FnMut(J) -> R) {
        loop {
            let job = self.0.lock().map(|jobs| jobs.recv());
            let Ok(Ok((job, place))) = job else {
                return;
            };
            // Nobody waits for it once the results were dropped.
            let _ = place.send(work(job));
        }
    }
}

impl<R> Iterator for Results<R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        loop {
            if let Some(awaited) = &self.current {
                if let Ok(result) = awaited.recv() {
                    return Some(result);
                }
                self.current = None;
            }
            self.current = Some(self.order.recv().ok()?);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_their_jobs() {
        let (jobs, worker, results) = pool(4);
        for _ in 0..3 {
            let worker = worker.clone();
            std::thread::spawn(|| worker.run(|job: u64| vec![job * 2]));
        }
        drop(worker);
        std::thread::spawn(move || {
            for job in 0..100 {
                assert!(jobs.job(job));
                assert!(jobs.result(vec![1]));
                let place = jobs.place().unwrap();
                assert!(place.send(vec![3]).is_ok() && place.send(vec![5]).is_ok());
            }
        });
        let all: Vec<_> = results.flatten().collect();
        let expected = (0..100).flat_map(|job| [job * 2, 1, 3, 5]);
        assert_eq!(all, expected.collect::<Vec<_>>());
    }

    #[test]
    fn nobody_waits_for_the_dead() {
        let (jobs, worker, results) = pool::<u64, u64>(1);
        drop(worker);
        assert!(!jobs.job(1));
        drop(results);
        assert!(!jobs.result(1));
    }
}
