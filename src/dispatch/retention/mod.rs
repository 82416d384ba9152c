//! Retention: removes what is past its time in batches of a few milliseconds, with rests in which intake has the store to
//! itself, and gives the space back.

mod rules;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub(crate) use rules::{RetentionRule, RetentionRules};

use super::backpressure::Backpressure;
use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::storage::{CascadedCounts, PurgeBatch, RetentionKind, Store, StoreError};
use crate::telemetry::retention::RemovedCounts;

/// How often it looks.
const RUN_INTERVAL: Duration = Duration::from_secs(3_600);
/// Longer than anybody reads the body of an event that is gone.
const READER_GRACE: Duration = Duration::from_secs(3);

/// The part that does it.
pub(crate) struct RetentionTask {
    /// Where from.
    pub store: Arc<dyn Store>,
    /// What is old.
    pub clock: Clock,
    /// Tells it to stop.
    pub supervisor: Supervisor,
    /// Counts what was removed.
    pub removed_counts: RemovedCounts,
    /// What is removed; a change is followed at once.
    pub rules: watch::Receiver<RetentionRules>,
}

/// What one pass came to.
#[derive(Default)]
struct RetentionPass {
    removed_rows: [u64; RetentionKind::ALL.len()],
    cascaded: CascadedCounts,
    backpressure: Backpressure,
}

impl RetentionTask {
    /// Works until the service stops.
    pub(crate) fn start(mut self) {
        let supervisor = self.supervisor.clone();
        supervisor.spawn("retention", async move {
            let stop = self.supervisor.clone();
            while !stop.is_stopping() {
                let rules = self.rules.borrow_and_update().clone();
                if let Err(error) = self.run_pass(&rules).await {
                    tracing::warn!(%error, "retention could not remove everything; trying again in an hour");
                }
                tokio::select! {
                    () = stop.wait_for_stop() => {}
                    () = tokio::time::sleep(RUN_INTERVAL) => {}
                    Ok(()) = self.rules.changed() => {}
                }
            }
        });
    }

    async fn run_pass(&self, rules: &RetentionRules) -> Result<(), StoreError> {
        let mut pass = RetentionPass::default();
        let removed = self.apply_rules(rules, &mut pass).await;
        pass.log_removed();
        removed?;
        // Also what an erasure left behind, if it was interrupted.
        let freed_before_ms = self.clock.now_ms().saturating_add(1);
        self.sleep_unless_stopping(READER_GRACE).await;
        let mut more = true;
        while more && !self.supervisor.is_stopping() {
            let began = pass.start_step(&*self.store);
            more = self.store.reclaim_space(freed_before_ms).await?;
            self.sleep_unless_stopping(pass.delay(&*self.store, began)).await;
        }
        Ok(())
    }

    async fn apply_rules(&self, rules: &RetentionRules, pass: &mut RetentionPass) -> Result<(), StoreError> {
        for rule in &rules.age_rules {
            let mut next = Some(rules.first_batch(rule, self.clock.now_ms()));
            while let Some(purge) = next {
                next = self.purge_batch(purge, pass).await?;
            }
        }
        let Some(max_bytes) = rules.max_bytes else { return Ok(()) };
        let mut next = Some(rules.oldest_events_batch(self.clock.now_ms()));
        while self.store.used_bytes().await? > max_bytes && !self.supervisor.is_stopping() {
            let Some(purge) = next else {
                tracing::warn!(
                    max_bytes,
                    "the store is larger than retention.max_bytes, and no event may go: deliveries wait, or it is other data"
                );
                return Ok(());
            };
            next = self.purge_batch(purge, pass).await?;
        }
        Ok(())
    }

    /// One batch, and a rest at least as long. The next one; none when it is the last, or the service stops.
    async fn purge_batch(&self, purge: PurgeBatch, pass: &mut RetentionPass) -> Result<Option<PurgeBatch>, StoreError> {
        if self.supervisor.is_stopping() {
            return Ok(None);
        }
        let began = pass.start_step(&*self.store);
        let purged = self.store.purge_batch(purge.clone()).await?;
        pass.add_removed(purge.kind, purged.removed);
        pass.cascaded += purged.cascaded;
        self.removed_counts.add(purge.kind.as_str(), purged.removed);
        self.sleep_unless_stopping(pass.delay(&*self.store, began)).await;
        Ok(purged.next_cursor.map(|after| PurgeBatch { cursor: after, ..purge }))
    }

    async fn sleep_unless_stopping(&self, rest: Duration) {
        tokio::select! {
            () = self.supervisor.wait_for_stop() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

impl RetentionPass {
    fn start_step(&mut self, store: &dyn Store) -> Instant {
        self.backpressure.start_step(store.appended_count());
        Instant::now()
    }

    fn delay(&self, store: &dyn Store, began: Instant) -> Duration {
        self.backpressure.delay(store.appended_count()).max(began.elapsed())
    }

    fn log_removed(&self) {
        if self.removed_rows.iter().any(|rows| *rows > 0) {
            let [events, deliveries, attempts, calls, rejected] = self.removed_rows;
            let body_bytes = self.cascaded.body_bytes;
            tracing::info!(events, deliveries, attempts, calls, rejected, body_bytes, "retention removed");
        }
    }

    fn add_removed(&mut self, kept: RetentionKind, rows: u64) {
        if let Some(position) = RetentionKind::ALL.iter().position(|known| *known == kept) {
            self.removed_rows[position] += rows;
        }
    }
}
