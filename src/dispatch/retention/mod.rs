//! Retention: deletes data that is older than its limit, in batches of a few milliseconds with pauses in which intake
//! has the store to itself, and then releases the disk space.

mod rules;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use enum_map::EnumMap;
use tokio::sync::watch;

pub(crate) use rules::{RetentionRule, RetentionRules};

use super::backpressure::Backpressure;
use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::storage::{CascadedCounts, DutyLeader, Journal, PurgeBatch, RetentionKind, RetentionStore, StoreError};

const RUN_INTERVAL: Duration = Duration::from_secs(3_600);
/// Term as the leader: two intervals, so that the pass of each hour extends it. When the leader crashes, another receiver
/// takes over with its first pass after the end of the term.
const TERM_MS: i64 = 2 * 3_600_000;
/// Pause between deleting events and releasing their bodies: longer than a read that started before the deletion
/// takes. Such a read still finds the event and opens its body.
const READER_GRACE: Duration = Duration::from_secs(3);

/// Rows removed since the start by kind, for the metrics.
pub(crate) type RemovedCounts = Arc<EnumMap<RetentionKind, AtomicU64>>;

/// Background task that applies the retention rules once per hour.
pub(crate) struct RetentionTask {
    /// Nothing is removed while another receiver leads.
    pub leader: DutyLeader,
    pub store: Arc<dyn RetentionStore>,
    pub journal: Arc<dyn Journal>,
    pub clock: Clock,
    pub supervisor: Supervisor,
    pub removed_counts: RemovedCounts,
    /// Current rules; a change starts a pass at once.
    pub rules: watch::Receiver<RetentionRules>,
}

#[derive(Default)]
struct RetentionPass {
    removed_rows: EnumMap<RetentionKind, u64>,
    cascaded: CascadedCounts,
    backpressure: Backpressure,
}

impl RetentionTask {
    /// Runs until the service stops.
    pub(crate) fn start(mut self) {
        let supervisor = self.supervisor.clone();
        supervisor.spawn("retention", async move {
            let stop = self.supervisor.clone();
            while !stop.is_stopping() {
                let rules = self.rules.borrow_and_update().clone();
                if let Err(error) = self.run_pass_as_leader(&rules).await {
                    // The next pass starts from the beginning: whatever this one left is still past its limit.
                    tracing::warn!(%error, "retention pass failed");
                }
                tokio::select! {
                    () = stop.wait_for_stop() => {}
                    () = tokio::time::sleep(RUN_INTERVAL) => {}
                    Ok(()) = self.rules.changed() => {}
                }
            }
            self.leader.resign().await;
        });
    }

    async fn run_pass_as_leader(&mut self, rules: &RetentionRules) -> Result<(), StoreError> {
        if self.leads().await? { self.run_pass(rules).await } else { Ok(()) }
    }

    /// Whether the pass may continue: this receiver leads, and it is not stopping.
    async fn leads(&mut self) -> Result<bool, StoreError> {
        let now_ms = self.clock.now_ms();
        Ok(!self.supervisor.is_stopping() && self.leader.leads(TERM_MS, now_ms).await?)
    }

    async fn run_pass(&mut self, rules: &RetentionRules) -> Result<(), StoreError> {
        let mut pass = RetentionPass::default();
        let result = self.apply_rules(rules, &mut pass).await;
        // Logged before the error ends the pass: the batches before it are committed.
        pass.log_removed();
        result?;
        // Runs even when nothing was deleted: an interrupted erasure may have left bodies to overwrite.
        let freed_before_ms = self.clock.now_ms().saturating_add(1);
        self.sleep_unless_stopping(READER_GRACE).await;
        let mut has_more = true;
        while has_more && self.leads().await? {
            let step_start = pass.start_step(&*self.journal);
            has_more = self.store.reclaim_space(freed_before_ms).await?;
            self.sleep_unless_stopping(pass.delay(&*self.journal, step_start)).await;
        }
        Ok(())
    }

    async fn apply_rules(&mut self, rules: &RetentionRules, pass: &mut RetentionPass) -> Result<(), StoreError> {
        for rule in &rules.age_rules {
            let mut next = Some(rules.first_batch(rule, self.clock.now_ms()));
            while let Some(purge) = next {
                next = self.purge_batch(purge, pass).await?;
            }
        }
        let Some(max_bytes) = rules.max_bytes else { return Ok(()) };
        let mut next = Some(rules.oldest_events_batch(self.clock.now_ms()));
        // Measured again before each batch, so that no more events are deleted than the limit requires.
        loop {
            let used_bytes = self.store.used_bytes().await?;
            if used_bytes <= max_bytes || !self.leads().await? {
                return Ok(());
            }
            let Some(purge) = next else {
                // Every event that may be deleted is gone: the rest is protected by unfinished deliveries, or the
                // space is taken by other data, such as calls.
                tracing::warn!(used_bytes, max_bytes, "retention size limit exceeded");
                return Ok(());
            };
            next = self.purge_batch(purge, pass).await?;
        }
    }

    /// Purges one batch and pauses. Returns the next batch; `None` after the last one, when the service stops, or when
    /// another receiver leads.
    async fn purge_batch(
        &mut self,
        purge: PurgeBatch,
        pass: &mut RetentionPass,
    ) -> Result<Option<PurgeBatch>, StoreError> {
        if !self.leads().await? {
            return Ok(None);
        }
        let step_start = pass.start_step(&*self.journal);
        let purged = self.store.purge_batch(purge.clone()).await?;
        pass.removed_rows[purge.kind] += purged.removed;
        pass.cascaded += purged.cascaded;
        self.removed_counts[purge.kind].fetch_add(purged.removed, Ordering::Relaxed);
        self.sleep_unless_stopping(pass.delay(&*self.journal, step_start)).await;
        Ok(purged.next_cursor.map(|cursor| PurgeBatch { cursor, ..purge }))
    }

    async fn sleep_unless_stopping(&self, pause: Duration) {
        tokio::select! {
            () = self.supervisor.wait_for_stop() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl RetentionPass {
    fn start_step(&mut self, journal: &dyn Journal) -> Instant {
        self.backpressure.start_step(journal.appended_count());
        Instant::now()
    }

    /// At least as long as the step took: also while intake is quiet, retention uses at most half of the writer's
    /// time.
    fn delay(&self, journal: &dyn Journal, step_start: Instant) -> Duration {
        self.backpressure.delay(journal.appended_count()).max(step_start.elapsed())
    }

    fn log_removed(&self) {
        if self.removed_rows.values().any(|rows| *rows > 0) {
            let [events, deliveries, attempts, calls, rejected] =
                RetentionKind::ALL.map(|kind| self.removed_rows[kind]);
            let body_bytes = self.cascaded.body_bytes;
            tracing::info!(events, deliveries, attempts, calls, rejected, body_bytes, "retention removed");
        }
    }
}
