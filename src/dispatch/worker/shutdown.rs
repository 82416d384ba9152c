//! The end of a worker: what it has claimed is settled or released.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Worker;
use super::steps::POLL_INTERVAL;
use crate::storage::QueueUpdate;

/// Time that running attempts get to end when the service stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);

impl Worker {
    /// Waits for running attempts, releases queued deliveries, and stores all settlements.
    pub(super) async fn shutdown(mut self) {
        self.cancellation.cancel();
        self.release_queued();
        self.store_open_plans().await;
        self.finish_attempts(Instant::now() + SHUTDOWN_TIMEOUT).await;
        let handler = Arc::clone(&self.handler);
        let settled = std::mem::take(&mut self.unstored_settlements);
        let count = settled.len();
        // Without the stored results, the next start makes these attempts again.
        if count > 0
            && let Err(error) = self.store_settlements(settled).await
        {
            tracing::warn!(handler = %handler.name, count, %error, "attempt results lost at shutdown");
        }
    }

    /// Stores the plans whose events are being attempted, with the results so far.
    async fn store_open_plans(&mut self) {
        while let Some(plan) = self.take_plan() {
            let update = QueueUpdate { now_ms: self.now_ms(), plan: Some(plan), ..QueueUpdate::default() };
            let stored = self.deps.queue.update_queue(self.handler_id, Arc::new(update)).await;
            if let Err(error) = stored.and_then(|outcome| outcome.planned) {
                // The events are planned again after the next start.
                tracing::warn!(handler = %self.handler.name, %error, "dispatch store batch failed");
                return;
            }
        }
    }

    /// Waits until the running attempts end, at most until `deadline`.
    async fn finish_attempts(&mut self, deadline: Instant) {
        while self.prefetch.running() > 0 {
            tokio::select! {
                // Results first: some may have arrived while the renewal was awaited, possibly until the deadline.
                biased;
                Some(finished) = self.finished_receiver.recv() => self.settle_attempt(finished),
                () = tokio::time::sleep_until(deadline) => break,
                () = tokio::time::sleep(POLL_INTERVAL) => {
                    // After an error the lease may end, and the settlement may be refused, which is counted then.
                    let _ = tokio::time::timeout_at(deadline, self.renew_leases()).await;
                }
            }
        }
        while let Ok(finished) = self.finished_receiver.try_recv() {
            self.settle_attempt(finished);
        }
        let running = self.prefetch.running();
        if running > 0 {
            // Their leases stay in the store; the attempts are made again after the next start, or when the leases have
            // ended.
            tracing::warn!(handler = %self.handler.name, running, "attempts abandoned at shutdown");
        }
    }
}
