//! Work shared among threads, whose results come in the order of the jobs.
//!
//! Bounded queues bound the memory: who gives a job waits until there is room. Begins no thread
//! and does not know what the work is.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use crate::format::damage::{Damage, DamageKind};

/// Why a job has no result.
const LOST: &str = "a thread that worked on it ended early, which is a fault of this program";

/// A result that can say that there is none.
pub(crate) trait Outcome {
    fn lost() -> Self;
}

impl<T> Outcome for anyhow::Result<T> {
    fn lost() -> Self {
        Err(anyhow::anyhow!(LOST))
    }
}

impl<T> Outcome for Result<T, Damage> {
    fn lost() -> Self {
        Err(Damage::new(DamageKind::Unreadable, 0, LOST))
    }
}

/// A job, and the place of its result.
type Job<J, R> = (J, SyncSender<R>);

/// Takes jobs, and results that need no work, each in its place.
pub(crate) struct Jobs<J, R> {
    jobs: SyncSender<Job<J, R>>,
    order: SyncSender<Awaited<R>>,
}

/// Where results come, and whether one must.
struct Awaited<R> {
    results: Receiver<R>,
    is_owed: bool,
}

/// What a thread of the pool runs.
pub(crate) struct Worker<J, R>(Arc<Mutex<Receiver<Job<J, R>>>>);

/// The results in the order of their jobs, to the end of these; of a job whose thread panics, that
/// it is lost.
pub(crate) struct Results<R> {
    order: Receiver<Awaited<R>>,
    current: Option<Awaited<R>>,
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
        let place = self.place_for(true);
        place.is_some_and(|place| self.jobs.send((job, place)).is_ok())
    }

    /// Gives a result. Whether anybody waits for it.
    pub(crate) fn result(&self, result: R) -> bool {
        self.place().is_some_and(|place| place.send(result).is_ok())
    }

    /// A place for any number of results, until it is dropped; `None` where nobody waits for them.
    pub(crate) fn place(&self) -> Option<SyncSender<R>> {
        self.place_for(false)
    }

    fn place_for(&self, is_owed: bool) -> Option<SyncSender<R>> {
        let (place, results) = sync_channel(1);
        self.order.send(Awaited { results, is_owed }).ok()?;
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

impl<R: Outcome> Iterator for Results<R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        loop {
            if let Some(awaited) = &mut self.current {
                if let Ok(result) = awaited.results.recv() {
                    awaited.is_owed = false;
                    return Some(result);
                }
                let is_lost = awaited.is_owed;
                self.current = None;
                if is_lost {
                    return Some(R::lost());
                }
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
        let (jobs, worker, results) = pool::<u64, anyhow::Result<u64>>(4);
        for _ in 0..3 {
            let worker = worker.clone();
            std::thread::spawn(|| worker.run(|job| Ok(job * 2)));
        }
        drop(worker);
        std::thread::spawn(move || {
            for job in 0..100 {
                assert!(jobs.job(job));
                assert!(jobs.result(Ok(1)));
                let place = jobs.place().unwrap();
                assert!(place.send(Ok(3)).is_ok() && place.send(Ok(5)).is_ok());
            }
        });
        let all: Vec<_> = results.map(anyhow::Result::unwrap).collect();
        let expected = (0..100).flat_map(|job| [job * 2, 1, 3, 5]);
        assert_eq!(all, expected.collect::<Vec<_>>());
    }

    #[test]
    fn nobody_waits_for_the_dead() {
        let (jobs, worker, results) = pool::<u64, anyhow::Result<u64>>(1);
        drop(worker);
        assert!(!jobs.job(1));
        drop(results);
        assert!(!jobs.result(Ok(1)));
    }

    /// Else an archive would lack a member, and nobody would know.
    #[test]
    fn a_job_whose_thread_panics_is_lost_and_says_so() {
        let (jobs, worker, results) = pool::<u64, Result<u64, Damage>>(8);
        for _ in 0..2 {
            let worker = worker.clone();
            std::thread::spawn(|| {
                worker.run(|job| {
                    assert!(job != 3);
                    Ok(job)
                })
            });
        }
        drop(worker);
        std::thread::spawn(move || (1..=5).all(|job| jobs.job(job)));
        let all: Vec<_> = results.collect();
        let lost = Damage::new(DamageKind::Unreadable, 0, LOST);
        assert_eq!(all, [Ok(1), Ok(2), Err(lost), Ok(4), Ok(5)]);
    }
}
