//! Limits, stops and measures a copy while it runs on another thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::storage::StoreError;

/// A pause that has built up, for example while the disk was slow, is made up for by at most this much.
const MAX_BURST: Duration = Duration::from_millis(50);
/// A pause ends at least this often, so that a stop is noticed.
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// Shared by the thread that copies and by the caller, who stops it and reports its progress.
#[derive(Debug)]
pub struct CopyRun {
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
    max_bytes_per_second: u64,
    /// The time from which on the next part may be copied.
    next_at: Mutex<Option<Instant>>,
    stop: CancellationToken,
}

impl CopyRun {
    /// A copy of at most `max_bytes_per_second`, which ends with an error when `stop` is canceled.
    pub(crate) fn new(max_bytes_per_second: u64, stop: CancellationToken) -> Self {
        Self {
            done_bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
            max_bytes_per_second: max_bytes_per_second.max(1),
            next_at: Mutex::new(None),
            stop,
        }
    }

    /// Begins again, as when a copy has to be repeated.
    pub(crate) fn begin(&self, total_bytes: u64) {
        self.done_bytes.store(0, Ordering::Relaxed);
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
    }

    /// Bytes that are done, and all bytes.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let done = self.done_bytes.load(Ordering::Relaxed);
        (done, self.total_bytes.load(Ordering::Relaxed).max(done))
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Counts a part that was copied, and blocks the thread until the next one may be.
    ///
    /// # Errors
    /// The caller has stopped the copy.
    pub(crate) fn advance(&self, bytes: u64) -> Result<(), StoreError> {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        let share = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / self.max_bytes_per_second);
        let next_at = {
            let mut next_at = self.next_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let earliest = now.checked_sub(MAX_BURST).unwrap_or(now);
            let at = next_at.map_or(now, |at| at.max(earliest)) + share;
            *next_at = Some(at);
            at
        };
        loop {
            if self.is_stopped() {
                return Err(StoreError::unavailable("stopped before the copy was complete"));
            }
            let pause = next_at.saturating_duration_since(Instant::now());
            if pause.is_zero() {
                return Ok(());
            }
            std::thread::sleep(pause.min(MAX_PAUSE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_wait_for_their_share_and_a_stop_ends_the_wait() {
        let stop = CancellationToken::new();
        let run = CopyRun::new(1_000_000, stop.clone());
        run.begin(200_000);
        let started = Instant::now();
        for _ in 0..20 {
            run.advance(10_000).unwrap();
        }
        assert!(started.elapsed() >= Duration::from_millis(140), "{:?}", started.elapsed());
        assert_eq!(run.progress(), (200_000, 200_000));
        stop.cancel();
        assert!(run.advance(1_000_000_000_000).is_err());
    }
}
