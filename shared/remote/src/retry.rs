//! Tries again what failed for now, with growing pauses, until a time limit.
//!
//! Each attempt is made anew, and so signed anew: an hour of retries needs no signature of an hour ago. Knows no
//! protocol; what failed for now is [`Unreachable`](Kind::Unreachable), or arrived damaged.

use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use crate::error::{Error, Kind, Result};
use crate::place::Options;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How often it is asked whether to stop.
pub(crate) const GLANCE: Duration = Duration::from_millis(100);
/// What lasts longer is told.
const TELL_AFTER: Duration = Duration::from_secs(10);
/// But not again so soon: all threads wait for the same.
const TELL_EVERY: Duration = Duration::from_secs(300);
/// Of what arrives damaged: a line that does so again and again is not for now.
const MOST_DAMAGED: u32 = 3;

/// How long, and until when.
#[derive(Clone)]
pub(crate) struct Retry {
    time_limit: Duration,
    is_stopped: Arc<dyn Fn() -> bool + Send + Sync>,
    on_waiting: Arc<dyn Fn(&Error) + Send + Sync>,
    told_at: Arc<Mutex<Option<Instant>>>,
}

/// One operation that is tried again.
pub(crate) struct Attempts<'a> {
    retry: &'a Retry,
    count: u32,
    damaged_count: u32,
    failed_at: Option<Instant>,
    pause: Duration,
}

impl Retry {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            time_limit: options.time_limit,
            is_stopped: options.is_stopped.clone(),
            on_waiting: options.on_waiting.clone(),
            told_at: Arc::default(),
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        (self.is_stopped)()
    }

    /// Waits; false when the caller wished to stop.
    pub(crate) fn wait(&self, until: Instant) -> bool {
        loop {
            if self.is_stopped() {
                return false;
            }
            match until.checked_duration_since(Instant::now()) {
                Some(left) => sleep(left.min(GLANCE)),
                None => return true,
            }
        }
    }

    fn tell(&self, error: &Error) {
        // It is poisoned by a thread that panicked: that is told instead.
        let Ok(mut told_at) = self.told_at.lock() else {
            return;
        };
        if told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            *told_at = Some(Instant::now());
            (self.on_waiting)(error);
        }
    }

    pub(crate) fn attempts(&self) -> Attempts<'_> {
        Attempts {
            retry: self,
            count: 0,
            damaged_count: 0,
            failed_at: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Does it until it succeeds, or fails for good.
    pub(crate) fn run<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let mut attempts = self.attempts();
        loop {
            match attempt() {
                Err(error) => attempts.again(error)?,
                done => return done,
            }
        }
    }
}

impl Attempts<'_> {
    /// Something was done: the time limit begins anew.
    pub(crate) fn progressed(&mut self) {
        (self.count, self.damaged_count) = (0, 0);
        self.failed_at = None;
        self.pause = FIRST_PAUSE;
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The one given, where there is no point in another attempt.
    pub(crate) fn again(&mut self, error: Error) -> Result<()> {
        self.count += 1;
        self.damaged_count += u32::from(error.kind() == Kind::Checksum);
        let now = Instant::now();
        let failing_for = now - *self.failed_at.get_or_insert(now);
        let is_for_now = match error.kind() {
            Kind::Unreachable => failing_for + self.pause <= self.retry.time_limit,
            Kind::Checksum => self.damaged_count < MOST_DAMAGED,
            _ => return Err(error),
        };
        if !is_for_now {
            return Err(error.tried(self.count, failing_for));
        }
        if failing_for >= TELL_AFTER && error.kind() == Kind::Unreachable {
            self.retry.tell(&error);
        }
        let until = now + jittered(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        match self.retry.wait(until) {
            true => Ok(()),
            false => Err(error.with_kind(Kind::Stopped)),
        }
    }
}

/// Half to all of it, so that those that failed together do not come again together.
fn jittered(pause: Duration) -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.subsec_nanos());
    pause / 2 + pause / 2 * (nanos % 1000) / 1000
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn retry(time_limit: Duration) -> Retry {
        Retry::new(&Options {
            time_limit,
            ..Options::default()
        })
    }

    fn fail(kind: Kind) -> Error {
        Error::new(kind, "s3://b", "reason")
    }

    #[test]
    fn what_fails_for_now_is_tried_again_until_it_succeeds() {
        let mut count = 0;
        let done = retry(Duration::from_secs(60)).run(|| {
            count += 1;
            if count < 3 {
                Err(fail(Kind::Unreachable))
            } else {
                Ok(count)
            }
        });
        assert_eq!(done.unwrap(), 3);
    }

    #[test]
    fn what_fails_for_good_is_not() {
        for kind in [
            Kind::NotFound,
            Kind::Refused,
            Kind::Unsupported,
            Kind::Other,
        ] {
            let mut count = 0;
            let failed = retry(Duration::from_secs(60)).run::<()>(|| {
                count += 1;
                Err(fail(kind))
            });
            assert_eq!((failed.unwrap_err().kind(), count), (kind, 1));
        }
    }

    #[test]
    fn it_ends_at_the_time_limit_and_tells_the_attempts() {
        let failed = retry(Duration::from_millis(700)).run::<()>(|| Err(fail(Kind::Unreachable)));
        let text = failed.unwrap_err().to_string();
        assert_eq!(text, "s3://b cannot be reached: reason (3 attempts in 0 s)");
    }

    #[test]
    fn damage_is_tried_three_times() {
        let mut count = 0;
        let failed = retry(Duration::from_secs(60)).run::<()>(|| {
            count += 1;
            Err(fail(Kind::Checksum))
        });
        assert_eq!((failed.unwrap_err().kind(), count), (Kind::Checksum, 3));
    }

    #[test]
    fn damage_is_tried_three_times_whatever_failed_before() {
        let mut kinds = [
            Kind::Unreachable,
            Kind::Unreachable,
            Kind::Checksum,
            Kind::Checksum,
        ]
        .into_iter();
        let done = retry(Duration::from_secs(60))
            .run(|| kinds.next().map_or(Ok(()), |kind| Err(fail(kind))));
        assert!(done.is_ok());
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let options = Options {
            is_stopped: Arc::new(|| true),
            ..Options::default()
        };
        let failed = Retry::new(&options).run::<()>(|| Err(fail(Kind::Unreachable)));
        assert_eq!(
            failed.unwrap_err().to_string(),
            "s3://b: interrupted: reason"
        );
    }
}
