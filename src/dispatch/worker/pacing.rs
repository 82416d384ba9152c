//! When a worker starts its next store batch. A batch costs nearly the same for one event as for fifty, so while a few
//! events arrive one after the other, a worker lingers and takes several at once. After a quiet time it starts at once.

use std::time::Duration;

use tokio::time::Instant;

use super::Worker;
use crate::base::clock::Clock;
use crate::dispatch::store_batch::{MAX_ROWS_PER_BATCH, StoreBatchResult};
use crate::storage::ClaimedDelivery;

/// Time between the starts of two small batches.
const INTERVAL: Duration = Duration::from_millis(20);
const INTERVAL_MS: u64 = 20;

#[derive(Clone)]
pub(super) struct Pacing {
    clock: Clock,
    last_start: Option<Instant>,
    /// When an idle worker starts its next batch, if that is decided.
    pub(super) next_start: Option<Instant>,
    /// Whether the last batch left something to claim.
    pub(super) has_backlog: bool,
    /// Whether deliveries may wait for earlier ones of their calls that are running.
    has_waiting: bool,
    /// Whether deliveries wait for one that has finished since the start of the last batch.
    has_followers: bool,
}

impl Pacing {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, last_start: None, next_start: None, has_backlog: false, has_waiting: false, has_followers: false }
    }

    pub(super) fn record_start(&mut self, is_worker_idle: bool) {
        self.last_start = Some(Instant::now());
        self.next_start = None;
        self.has_waiting &= !is_worker_idle;
        self.has_followers = false;
    }

    pub(super) fn record_finished(&mut self, claimed: &ClaimedDelivery) {
        self.has_followers |= claimed.has_followers;
    }

    /// Records what a batch has left. `any_resumed` tells whether it resumed dead deliveries, of which there may be more.
    pub(super) fn record_batch(&mut self, batch: &StoreBatchResult, any_resumed: bool) {
        let is_more_due = batch.due_in_ms.is_some_and(|due_in_ms| due_in_ms <= 0) && !batch.claimed.is_empty();
        self.has_backlog = is_more_due || any_resumed;
        self.has_waiting |= batch.has_waiting;
    }

    /// When the next small batch starts. The wait ends at a full interval of the clock, so that all workers start their
    /// batches together: they then share the reads of the events and the commits.
    pub(super) fn next_small_start(&self) -> Instant {
        let now = Instant::now();
        if self.last_start.is_none_or(|start| now.duration_since(start) >= INTERVAL) {
            return now;
        }
        let elapsed_ms = self.clock.now_ms().unsigned_abs() % INTERVAL_MS;
        now + Duration::from_millis(INTERVAL_MS - elapsed_ms)
    }
}

impl Worker {
    /// When to store the settlements of finished attempts: at once when it lets deliveries of their calls be claimed, or
    /// when the worker has nothing else to attempt.
    pub(super) fn settlement_start(&self) -> Instant {
        let is_followed = self.pacing.has_followers || self.pacing.has_waiting;
        let is_starved = self.pacing.has_backlog && self.prefetch.has_no_queued();
        let is_full = self.unstored_settlements.len() >= MAX_ROWS_PER_BATCH / 2;
        if is_followed || is_starved || is_full {
            return Instant::now();
        }
        self.pacing.next_small_start()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn batches_start_at_full_intervals_except_after_a_quiet_time() {
        let mut pacing = Pacing::new(Clock::from_fn(|| 1_000_007));
        assert_eq!(pacing.next_small_start(), Instant::now());
        pacing.record_start(true);
        assert_eq!(pacing.next_small_start(), Instant::now() + Duration::from_millis(13));
        tokio::time::advance(INTERVAL).await;
        assert_eq!(pacing.next_small_start(), Instant::now());
    }
}
