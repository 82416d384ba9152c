//! One worker a handler: plans deliveries from the journal, claims what is due, runs the attempts, settles them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attempt::{FinishedAttempt, run_attempt};
use super::backpressure::Backpressure;
use super::breaker::{BreakerDecision, CircuitBreaker};
use super::delivery_log;
use super::prefetch::PrefetchQueue;
use super::store_batch::{MAX_ROWS_PER_BATCH, StoreBatch, StoreBatchResult};
use crate::base::clock::Clock;
use crate::base::supervise::{Supervisor, TaskGroup};
use crate::handlers::RegisteredHandler;
use crate::security::rate_limit::TokenBucket;
use crate::storage::{BreakerState, ClaimRequest, HandlerId, SettledDelivery, Store, StoreError};
use crate::telemetry::deliveries::{DeliveryCounts, DeliveryMetrics};

/// Deliveries claimed before their turn, so that the handler does not wait for the store: of one company, and of all.
const MAX_PREFETCH_PER_COMPANY: usize = 512;
const MAX_PREFETCH: usize = 2_048;
/// Bodies held for a handler; one delivery may be larger.
const MAX_PREFETCH_BYTES: u64 = 2 * 1024 * 1024;
/// How long a worker rests after the store failed it.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// How often it looks for work that came in by another way, such as a replay by the command line.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// A lease lasts this much longer than it takes until what was claimed ahead is through: the result has to be written too.
const LEASE_MARGIN: Duration = Duration::from_secs(600);
/// How long attempts under way may take to end when the service stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);

/// What the workers need.
#[derive(Clone)]
pub(crate) struct DispatchDeps {
    /// Where events come from and what became of them goes to.
    pub store: Arc<dyn Store>,
    /// For retry times.
    pub clock: Clock,
    /// Tells the workers to stop.
    pub supervisor: Supervisor,
    /// Counts what attempts come to.
    pub delivery_metrics: DeliveryMetrics,
}

/// A round under way, or a rest.
type NextBatch = BoxFuture<'static, Option<StoreBatchResult>>;

/// A handler at work.
pub(super) struct Worker {
    pub(super) deps: DispatchDeps,
    pub(super) handler: Arc<RegisteredHandler>,
    handler_id: HandlerId,
    pub(super) counts: Arc<DeliveryCounts>,
    pub(super) breaker: CircuitBreaker,
    stored_breaker_state: BreakerState,
    rate_limit: Option<TokenBucket>,
    pub(super) prefetch: PrefetchQueue,
    company_after: i64,
    /// How many are claimed ahead: more while the handler runs out of them.
    prefetch_limit: usize,
    /// Waits for something to do.
    is_idle: bool,
    /// Events appended when the store was asked last.
    appended_seen: u64,
    backpressure: Backpressure,
    attempt_tasks: TaskGroup,
    cancellation: CancellationToken,
    finished_attempts: (mpsc::UnboundedSender<FinishedAttempt>, mpsc::UnboundedReceiver<FinishedAttempt>),
    /// What ended and is not written down yet.
    pub(super) unstored_settlements: Vec<SettledDelivery>,
}

impl Worker {
    pub(super) fn new(dispatch: DispatchDeps, registered: RegisteredHandler, id: HandlerId) -> Self {
        let now = dispatch.clock.now_ms().unsigned_abs();
        Self {
            handler_id: id,
            counts: dispatch.delivery_metrics.for_handler(&registered.name),
            breaker: CircuitBreaker::default(),
            stored_breaker_state: BreakerState::Closed,
            rate_limit: registered.delivery.rate_per_second.map(|rate| TokenBucket::new(rate, rate, now)),
            prefetch: PrefetchQueue::default(),
            company_after: 0,
            prefetch_limit: 0,
            is_idle: false,
            appended_seen: 0,
            backpressure: Backpressure::default(),
            attempt_tasks: TaskGroup::default(),
            cancellation: CancellationToken::new(),
            finished_attempts: mpsc::unbounded_channel(),
            unstored_settlements: Vec::new(),
            deps: dispatch,
            handler: Arc::new(registered),
        }
    }

    /// Works until the service stops. Attempts begin and end while the store is asked for more.
    pub(super) async fn run(mut self) {
        let stop = self.deps.supervisor.clone();
        let mut next = self.start_batch();
        while !stop.is_stopping() {
            tokio::select! {
                () = stop.wait_for_stop() => {}
                Some(finished) = self.finished_attempts.1.recv() => {
                    self.settle_attempt(finished);
                    self.start_attempts();
                    if self.is_idle {
                        next = self.start_batch();
                    }
                }
                rounded = &mut next => next = self.next_step(rounded).await,
            }
        }
        if !self.is_idle
            && let Some(rounded) = next.await
            && let Err(error) = self.apply_batch(rounded)
        {
            tracing::warn!(handler = %self.handler.name, %error, "stopping while the store is away");
        }
        self.shutdown().await;
    }

    /// The next look at the store.
    fn start_batch(&mut self) -> NextBatch {
        self.is_idle = false;
        self.appended_seen = self.deps.store.appended_count();
        self.backpressure.start_step(self.appended_seen);
        let round = StoreBatch {
            store: Arc::clone(&self.deps.store),
            registered: Arc::clone(&self.handler),
            handler_id: self.handler_id,
            now_ms: self.now_ms(),
            settled: std::mem::take(&mut self.unstored_settlements),
            claim: self.build_claim(),
        };
        async move { Some(round.run().await) }.boxed()
    }

    /// After a round, or a rest, which is `None`.
    async fn next_step(&mut self, rounded: Option<StoreBatchResult>) -> NextBatch {
        let Some(rounded) = rounded else {
            return self.start_batch();
        };
        let busy = self.apply_batch(rounded);
        self.store_breaker_state().await;
        let rest = match busy {
            Ok(true) => self.backpressure.delay(self.deps.store.appended_count()),
            Ok(false) if self.unstored_settlements.is_empty() => return self.wait_for_events(),
            Ok(false) => Duration::ZERO,
            Err(error) => {
                tracing::warn!(handler = %self.handler.name, %error, "dispatch waits for the store");
                STORE_RETRY_DELAY
            }
        };
        if rest.is_zero() {
            return self.start_batch();
        }
        async move {
            tokio::time::sleep(rest).await;
            None
        }
        .boxed()
    }

    /// Begins what was claimed; says whether there was anything to do.
    fn apply_batch(&mut self, rounded: StoreBatchResult) -> Result<bool, StoreError> {
        self.counts.skipped.fetch_add(rounded.skipped_count, Ordering::Relaxed);
        self.unstored_settlements.extend(rounded.unsettled);
        self.company_after = rounded.claimed.last().map_or(self.company_after, |last| last.event.summary.company_id);
        let usual = 2 * usize::from(self.handler.delivery.concurrency);
        let left: usize = self.prefetch.queued_by_company().values().sum();
        self.prefetch_limit = if left == 0 { self.prefetch_limit * 2 } else { self.prefetch_limit / 2 }
            .clamp(usual, MAX_PREFETCH_PER_COMPANY.max(usual));
        for claimed in rounded.claimed {
            self.prefetch.push(claimed);
        }
        let begun = self.start_attempts();
        rounded.error.map_or(Ok(rounded.made_progress || begun), Err)
    }

    /// What may be taken now: a little more than the handler needs until the next round.
    fn build_claim(&self) -> Option<ClaimRequest> {
        let now_ms = self.now_ms();
        let (limit, due_before_ms) = match self.breaker.check(now_ms) {
            BreakerDecision::Allow if self.handler.enabled => (MAX_PREFETCH, now_ms),
            BreakerDecision::Probe if self.handler.enabled => (usize::from(self.prefetch.is_idle()), now_ms),
            // Resting or disabled: what became too old meanwhile is ended all the same.
            _ => (MAX_PREFETCH, now_ms.saturating_sub(millis(self.handler.delivery.max_age))),
        };
        let waiting = self.prefetch.queued_by_company();
        let limit = limit.saturating_sub(waiting.values().sum()).min(MAX_ROWS_PER_BATCH);
        if limit == 0 || self.prefetch.held_bytes() >= MAX_PREFETCH_BYTES {
            return None;
        }
        let lease_ms = millis(self.handler.delivery.attempt_timeout.saturating_mul(4).saturating_add(LEASE_MARGIN));
        Some(ClaimRequest {
            now_ms,
            lease_until_ms: now_ms.saturating_add(lease_ms),
            due_before_ms,
            limit,
            limit_per_company: self.prefetch_limit,
            prefetched_by_company: waiting,
            limit_bytes: MAX_PREFETCH_BYTES - self.prefetch.held_bytes(),
            after_company_id: self.company_after,
        })
    }

    /// Begins attempts while there is room.
    fn start_attempts(&mut self) -> bool {
        let now_ms = self.now_ms();
        let mut any = self.settle_expired(now_ms);
        loop {
            let room = match self.breaker.check(now_ms) {
                BreakerDecision::Allow => usize::from(self.handler.delivery.concurrency),
                BreakerDecision::Probe => 1,
                BreakerDecision::DenyUntil(_) => return self.release_queued() || any,
            };
            if self.prefetch.running() >= room || self.prefetch.has_no_queued() {
                return any;
            }
            if self.rate_limit.as_mut().is_some_and(|rate| !rate.try_acquire(now_ms.unsigned_abs())) {
                return any;
            }
            let Some(claimed) = self.prefetch.start_next(room) else {
                return any;
            };
            any = true;
            let (registered, clock) = (Arc::clone(&self.handler), self.deps.clock.clone());
            let (finished, cancellation) = (self.finished_attempts.0.clone(), self.cancellation.clone());
            self.attempt_tasks.spawn(async move {
                let _ = finished.send(run_attempt(registered, claimed, clock, cancellation).await);
            });
        }
    }

    async fn store_breaker_state(&mut self) {
        let now_ms = self.now_ms();
        let state = self.breaker.state(now_ms);
        if state != self.stored_breaker_state
            && self.deps.store.update_breaker_state(self.handler_id, state, now_ms).await.is_ok()
        {
            self.stored_breaker_state = state;
            delivery_log::log_breaker_state(&self.handler.name, state);
        }
    }

    /// Waits for events, or for work that came in by another way.
    fn wait_for_events(&mut self) -> NextBatch {
        self.is_idle = true;
        let (store, seen) = (Arc::clone(&self.deps.store), self.appended_seen);
        async move {
            let _ = tokio::time::timeout(POLL_INTERVAL, store.wait_for_append(seen)).await;
            None
        }
        .boxed()
    }

    /// Lets attempts under way end, gives back the rest, and writes it down.
    async fn shutdown(mut self) {
        self.cancellation.cancel();
        self.release_queued();
        let name = Arc::clone(&self.handler);
        let give_up = tokio::time::Instant::now() + SHUTDOWN_TIMEOUT;
        while self.prefetch.running() > 0 {
            let Ok(Some(finished)) = tokio::time::timeout_at(give_up, self.finished_attempts.1.recv()).await else {
                tracing::warn!(handler = %name.name, "stopping: attempts still under way are made again after the next start");
                break;
            };
            self.settle_attempt(finished);
        }
        let settled = std::mem::take(&mut self.unstored_settlements);
        if !settled.is_empty()
            && let Err(error) = self.deps.store.settle_deliveries(self.handler_id, settled, self.now_ms()).await
        {
            tracing::warn!(handler = %name.name, %error, "stopping: the latest attempts are made again after the next start");
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.deps.clock.now_ms()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
