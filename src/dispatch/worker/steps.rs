//! The steps of a worker: what it reads and stores next, and what follows from the results.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::{NextBatch, Wait, Worker, pause_until, sleep_until};
use crate::dispatch::breaker::BreakerDecision;
use crate::dispatch::delivery_log;
use crate::dispatch::lease::LeaseTimer;
use crate::dispatch::plan;
use crate::dispatch::store_batch::{StoreBatch, StoreBatchResult};
use crate::storage::StoreError;

/// Pause after the store returned an error.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// An idle worker sleeps until the store wakes it or the next delivery is due. It looks this often while something is
/// due that it must not attempt yet, for example because of the rate limit.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How long an idle worker waits for further events before it stores its position.
const POSITION_DELAY: Duration = Duration::from_millis(40);
/// Longest sleep of an idle worker, in case the clock of the machine is set.
const MAX_IDLE: Duration = Duration::from_secs(10);

impl Worker {
    /// Reads what is new before the next store batch.
    pub(super) fn start_step(&mut self) -> NextBatch {
        let is_read_due = self.wake_ups.has_changed() || self.known.needs_read();
        if !is_read_due || !self.open_plans.is_empty() {
            return self.store_or_wait();
        }
        if self.reading.is_none() {
            self.start_reading(None);
        }
        self.wait = Wait::Read;
        std::future::pending().boxed()
    }

    /// Starts a store batch, which stores the first open plan or leaves it for later.
    pub(super) fn start_batch(&mut self, stores_plan: bool) -> NextBatch {
        self.wait = Wait::Store;
        self.known.check_external_changes(&self.wake_ups);
        self.pacing.record_start(self.prefetch.is_idle());
        self.backpressure.start_step(self.deps.journal.appended_count());
        let now_ms = self.now_ms();
        let leases = self.leases_to_renew();
        let plan = if stores_plan { self.take_plan() } else { None };
        if let Some(plan) = &plan
            && self.known.may_have_more()
            && self.open_plans.is_empty()
            && self.reading.is_none()
        {
            self.start_reading(Some(plan.token.when_stored()));
        }
        let is_deferrable = plan.is_some()
            && self.stores_ended_only
            && self.unstored_settlements.is_empty()
            && !self.known.may_have_more();
        let settled = self.take_settlements();
        let upkeep = self.upkeep.due_tasks(now_ms);
        if !upkeep.is_empty() {
            self.known.forget_due();
        }
        let batch = StoreBatch {
            queue: Arc::clone(&self.deps.queue),
            handler_id: self.handler_id,
            now_ms,
            leases,
            lease_until_ms: LeaseTimer::end_ms(now_ms),
            upkeep,
            settled,
            claim: self.build_claim(),
            plan,
            is_deferrable,
            next_due: self.known.next_due(),
            read_error: self.read_error.take(),
        };
        async move { Some(batch.run().await) }.boxed()
    }

    /// Continues after a store batch, or after a pause (`None`).
    pub(super) async fn next_step(&mut self, batch: Option<StoreBatchResult>) -> NextBatch {
        let Some(batch) = batch else {
            return self.start_step();
        };
        let made_progress = self.apply_batch(batch);
        self.store_breaker_state().await;
        let pause = match made_progress {
            Ok(true) => self.backpressure.delay(self.deps.journal.appended_count()),
            Ok(false) => Duration::ZERO,
            Err(error) => {
                tracing::warn!(handler = %self.handler.name, %error, "dispatch store batch failed");
                STORE_RETRY_DELAY
            }
        };
        if !pause.is_zero() {
            self.wait = Wait::Pause;
            return pause_until(Instant::now() + pause);
        }
        if !self.open_plans.is_empty() {
            return self.store_or_wait();
        }
        if self.reading.is_some() || self.pacing.has_backlog || self.known.may_have_more() {
            return self.start_step();
        }
        self.wait = Wait::Idle;
        if !self.unstored_settlements.is_empty()
            && let Some(pause) = self.pause_before_settling()
        {
            return pause;
        }
        self.wait_for_events()
    }

    /// The pause until settlements are stored; `None` when the next batch starts earlier anyway.
    pub(super) fn pause_before_settling(&mut self) -> Option<NextBatch> {
        let start = self.settlement_start();
        if self.pacing.next_start.is_some_and(|decided| decided <= start) {
            return None;
        }
        self.pacing.next_start = Some(start);
        Some(pause_until(start))
    }

    /// Starts the claimed deliveries. Returns whether the batch or the attempts made progress.
    pub(super) fn apply_batch(&mut self, mut batch: StoreBatchResult) -> Result<bool, StoreError> {
        self.counts.skipped.fetch_add(batch.skipped_count, Ordering::Relaxed);
        self.known.record_batch(&batch);
        self.record_refused(batch.refused_count);
        self.apply_plan(batch.plan.take());
        let any_resumed = self.upkeep.apply(&self.handler.name, batch.upkeep.as_ref());
        self.pacing.record_batch(&batch, any_resumed);
        self.unstored_settlements.extend(batch.unsettled);
        if let Some(renewal) = &batch.renewal {
            self.apply_renewal(renewal);
        }
        if let Some(last) = batch.claimed.last() {
            self.company_after = last.event.summary.company_id;
        }
        self.adapt_prefetch_limit();
        for claimed in batch.claimed {
            if plan::is_excluded(&self.handler, &claimed) {
                self.settle_excluded(&claimed);
            } else {
                self.prefetch.push(claimed);
            }
        }
        let any_started = self.start_attempts();
        self.prefetch_share.resize(self.prefetch.held_bytes(), 0);
        self.idle_limit = self.compute_idle_limit(batch.due_in_ms);
        match batch.error {
            Some(error) => Err(error),
            None => Ok(batch.made_progress || any_started || any_resumed),
        }
    }

    /// How long nothing can become due. Not long while something is waiting that this worker may not attempt yet.
    fn compute_idle_limit(&self, due_in_ms: Option<i64>) -> Duration {
        if !self.prefetch.is_idle() || due_in_ms.is_some_and(|due_in_ms| due_in_ms <= 0) {
            return POLL_INTERVAL;
        }
        let now_ms = self.now_ms();
        let breaker_ms = match self.breaker.check(now_ms) {
            BreakerDecision::DenyUntil(until_ms) => Some(until_ms.saturating_sub(now_ms)),
            BreakerDecision::Allow | BreakerDecision::Probe => None,
        };
        let limit_ms = [due_in_ms, breaker_ms].into_iter().flatten().min().and_then(|ms| u64::try_from(ms).ok());
        limit_ms.map_or(MAX_IDLE, Duration::from_millis).clamp(POLL_INTERVAL, MAX_IDLE)
    }

    /// Stores the state of the circuit breaker when it changed.
    async fn store_breaker_state(&mut self) {
        let now_ms = self.now_ms();
        let state = self.breaker.state(now_ms);
        // After a store error the state still differs at the next batch, which stores and logs it then.
        if state != self.stored_breaker_state
            && self.deps.queue.update_breaker_state(self.handler_id, state, now_ms).await.is_ok()
        {
            self.stored_breaker_state = state;
            delivery_log::log_breaker_state(&self.handler.name, self.breaker.check(now_ms));
        }
    }

    /// What [`run`](Self::run) does until it would wait for events.
    #[cfg(test)]
    pub(in crate::dispatch) async fn run_until_idle(&mut self) {
        // Tests change the store by other connections, which are noticed after a while only.
        self.known.forget_due();
        loop {
            self.start_reading(None);
            let read = super::wait_for_read(&mut self.reading).await;
            self.apply_read(read);
            self.finish_running().await;
            let batch = self.start_batch(true).await;
            let made_progress = batch.is_some_and(|batch| self.apply_batch(batch).unwrap());
            self.finish_running().await;
            self.store_breaker_state().await;
            if !made_progress && self.unstored_settlements.is_empty() {
                return;
            }
        }
    }

    #[cfg(test)]
    async fn finish_running(&mut self) {
        while self.prefetch.running() > 0
            && let Some(finished) = self.finished_receiver.recv().await
        {
            self.settle_attempt(finished);
            self.start_attempts();
        }
    }

    fn wait_for_events(&mut self) -> NextBatch {
        let mut wake_ups = self.wake_ups.clone();
        // Soon, when events became no delivery: the position is stored once no more of them arrive.
        let limit = if self.known.has_unstored_position() { POSITION_DELAY } else { self.idle_limit };
        let pacing = self.pacing.clone();
        async move {
            if tokio::time::timeout(limit, wake_ups.changed()).await.is_ok() {
                sleep_until(pacing.next_small_start()).await;
            }
            None
        }
        .boxed()
    }
}
