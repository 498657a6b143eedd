//! How fast bytes may go out, counted over all threads.
//!
//! Knows no connection: whoever sends asks how long to wait first.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What may go out at once after a pause.
const BURST: Duration = Duration::from_millis(250);
const MOST_PIECE_BYTES: u64 = 64 * 1024;
const LEAST_PIECE_BYTES: u64 = 512;

/// A token bucket.
#[derive(Debug)]
pub(crate) struct Rate {
    bytes_per_second: Option<u64>,
    /// When all that was let through is sent at that rate.
    free_at: Mutex<Option<Instant>>,
}

impl Rate {
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            bytes_per_second: bytes_per_second.map(|rate| rate.max(1)),
            free_at: Mutex::new(None),
        }
    }

    /// How much to ask for at once, so that no wait is long.
    pub(crate) fn piece_bytes(&self) -> usize {
        let piece = self.bytes_per_second.map_or(MOST_PIECE_BYTES, |rate| {
            (rate / 10).clamp(LEAST_PIECE_BYTES, MOST_PIECE_BYTES)
        });
        usize::try_from(piece).unwrap_or(usize::MAX)
    }

    /// Takes so many bytes; they may go out after the time that is returned.
    pub(crate) fn take(&self, bytes: usize, now: Instant) -> Duration {
        let Some(rate) = self.bytes_per_second else {
            return Duration::ZERO;
        };
        // A number is right whatever another thread did while it held the lock.
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let begin = free_at.map_or(earliest, |free_at| free_at.max(earliest));
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate);
        *free_at = Some(begin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        begin.saturating_duration_since(now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// How long it takes threads that take turns to send so much.
    fn time(rate: &Rate, bytes: usize) -> Duration {
        let begin = Instant::now();
        let mut now = begin;
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(rate.piece_bytes());
            now += rate.take(piece, now);
            left -= piece;
        }
        now - begin
    }

    #[test]
    fn so_many_bytes_go_out_in_a_second() {
        for rate in [100, 10_000, 10_000_000] {
            let limited = Rate::new(Some(rate));
            let taken = time(&limited, usize::try_from(rate).unwrap() * 10).as_secs_f64();
            // Ten seconds' worth; what may burst, and the last piece, are not waited for.
            assert!((4.0..=10.0).contains(&taken), "{rate}: {taken}");
            if rate >= 10_000 {
                assert!(taken > 9.5, "{rate}: {taken}");
            }
        }
        assert_eq!(time(&Rate::new(None), 1 << 30), Duration::ZERO);
    }

    #[test]
    fn a_pause_saves_up_a_burst_and_no_more() {
        let rate = Rate::new(Some(1000));
        let begin = Instant::now();
        assert_eq!(rate.take(1000, begin), Duration::ZERO);
        assert_eq!(rate.take(1000, begin), Duration::from_millis(750));
        let later = begin + Duration::from_secs(3600);
        assert_eq!(rate.take(250, later), Duration::ZERO);
        assert_eq!(rate.take(1000, later), Duration::ZERO);
        assert_eq!(rate.take(1, later), Duration::from_secs(1));
    }

    #[test]
    fn a_slow_rate_takes_small_pieces() {
        assert_eq!(Rate::new(None).piece_bytes(), 65536);
        assert_eq!(Rate::new(Some(10_000)).piece_bytes(), 1000);
        assert_eq!(Rate::new(Some(0)).piece_bytes(), 512);
    }
}
