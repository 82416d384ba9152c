//! The worker of one handler: plans deliveries from the journal, claims those that are due, runs the attempts,
//! settles them.
//!
//! Attempts run in tasks and send their results to the worker; everything else happens in one loop, so the worker
//! needs no locks. Store batches overlap with attempts and with reading: while the store settles one batch, the handler
//! works on the next one.

mod open_plans;
mod pacing;
mod position;
mod shutdown;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::open_plans::OpenPlans;
use self::pacing::Pacing;
use self::position::KnownState;
use super::attempt::{FinishedAttempt, run_attempt};
use super::backpressure::Backpressure;
use super::breaker::{BreakerDecision, CircuitBreaker, PROBES};
use super::budget::{PrefetchBudget, PrefetchShare};
use super::delivery_log::{self, DeliveryLog};
use super::event_read::ReadEvents;
use super::lease::LeaseTimer;
use super::plan;
use super::prefetch::PrefetchQueue;
use super::store_batch::{MAX_ROWS_PER_BATCH, StoreBatch, StoreBatchResult};
use super::upkeep::Upkeep;
use crate::base::clock::Clock;
use crate::base::id::CompanyId;
use crate::base::supervise::{Supervisor, TaskGroup};
use crate::base::token_bucket::TokenBucket;
use crate::handlers::RegisteredHandler;
use crate::storage::{BreakerState, DeliveryQueue, HandlerId, Journal, SettledDelivery, StoreError, WakeUps};
use crate::telemetry::deliveries::{DeliveryCounts, DeliveryMetrics};

/// Pause after the store returned an error.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// An idle worker sleeps until the store wakes it or the next delivery is due. It looks this often while something is
/// due that it must not attempt yet, for example because of the rate limit.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How long an idle worker waits for further events before it stores its position.
const POSITION_DELAY: Duration = Duration::from_millis(40);
/// Longest sleep of an idle worker, in case the clock of the machine is set.
const MAX_IDLE: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(crate) struct DispatchDeps {
    pub queue: Arc<dyn DeliveryQueue>,
    pub journal: Arc<dyn Journal>,
    /// Dates leases, retries and the age of deliveries.
    pub clock: Clock,
    pub supervisor: Supervisor,
    pub delivery_metrics: DeliveryMetrics,
    /// Whether no other receiver works on the store. Its workers may attempt an event before its delivery is stored.
    pub is_only_receiver: bool,
}

/// The next event of the worker's loop: the result of a store batch, or `None` at the end of a pause.
type NextBatch = BoxFuture<'static, Option<StoreBatchResult>>;
/// The end of a read of events.
type NextRead = BoxFuture<'static, Result<ReadEvents, StoreError>>;

/// What the worker waits for besides finished attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The store batch in progress, which must not be dropped: its claims and settlements may have been committed.
    Store,
    /// The end of a pause that nothing shortens.
    Pause,
    /// Something to do. A finished attempt can start a store batch.
    Idle,
    /// The attempts of a plan that is not stored yet.
    Attempts,
    Read,
}

pub(super) struct Worker {
    pub(super) deps: DispatchDeps,
    pub(super) handler: Arc<RegisteredHandler>,
    pub(super) handler_id: HandlerId,
    pub(super) counts: Arc<DeliveryCounts>,
    pub(super) breaker: CircuitBreaker,
    stored_breaker_state: BreakerState,
    pub(super) delivery_log: DeliveryLog,
    rate_limit: Option<TokenBucket>,
    pub(super) prefetch: PrefetchQueue,
    pub(super) prefetch_share: PrefetchShare,
    pub(super) lease_timer: LeaseTimer,
    upkeep: Upkeep,
    /// The company of the last claimed delivery; the next claim starts after it.
    pub(super) company_after: CompanyId,
    /// Current prefetch limit per company, adapted to the speed of the handler after each store batch.
    pub(super) prefetch_limit: usize,
    wait: Wait,
    reading: Option<NextRead>,
    /// Why the last read failed.
    read_error: Option<StoreError>,
    open_plans: OpenPlans,
    /// Whether no delivery of the plan in the store batch in progress needs a further attempt.
    stores_ended_only: bool,
    /// Changes of the store since the start of the last batch.
    wake_ups: WakeUps,
    /// How long an idle worker may sleep: until the next delivery is due.
    pub(super) idle_limit: Duration,
    pacing: Pacing,
    known: KnownState,
    backpressure: Backpressure,
    attempt_tasks: TaskGroup,
    /// Canceled at shutdown, for handlers that watch it.
    cancellation: CancellationToken,
    finished_sender: mpsc::UnboundedSender<FinishedAttempt>,
    finished_receiver: mpsc::UnboundedReceiver<FinishedAttempt>,
    pub(super) unstored_settlements: Vec<SettledDelivery>,
}

impl Worker {
    pub(super) fn new(
        dispatch: DispatchDeps,
        prefetch_budget: PrefetchBudget,
        registered: RegisteredHandler,
        id: HandlerId,
    ) -> Self {
        let now_ms = dispatch.clock.now_ms();
        let now = now_ms.unsigned_abs();
        // Unbounded is safe: there are at most `concurrency` running attempts, each sends one result.
        let (finished_sender, finished_receiver) = mpsc::unbounded_channel();
        Self {
            handler_id: id,
            counts: dispatch.delivery_metrics.for_handler(&registered.name),
            breaker: CircuitBreaker::default(),
            stored_breaker_state: BreakerState::Closed,
            delivery_log: DeliveryLog::new(registered.handler.logs_deliveries(), now_ms),
            rate_limit: registered.delivery.rate_per_second.map(|rate| TokenBucket::new(rate, rate, now)),
            prefetch: PrefetchQueue::default(),
            prefetch_share: PrefetchShare::new(prefetch_budget),
            lease_timer: LeaseTimer::new(now_ms),
            upkeep: Upkeep::new(now_ms),
            company_after: CompanyId::new(0),
            prefetch_limit: 0,
            wait: Wait::Idle,
            reading: None,
            read_error: None,
            open_plans: OpenPlans::default(),
            stores_ended_only: true,
            wake_ups: dispatch.journal.subscribe(),
            idle_limit: POLL_INTERVAL,
            pacing: Pacing::new(dispatch.clock.clone()),
            known: KnownState::default(),
            backpressure: Backpressure::default(),
            attempt_tasks: TaskGroup::default(),
            cancellation: CancellationToken::new(),
            finished_sender,
            finished_receiver,
            unstored_settlements: Vec::new(),
            deps: dispatch,
            handler: Arc::new(registered),
        }
    }

    /// Runs until the service stops.
    pub(super) async fn run(mut self) {
        let stop = self.deps.supervisor.clone();
        let mut next = self.start_step();
        while !stop.is_stopping() {
            tokio::select! {
                () = stop.wait_for_stop() => {}
                Some(finished) = self.finished_receiver.recv() => {
                    self.settle_finished(finished);
                    self.start_attempts();
                    match self.wait {
                        Wait::Idle => {
                            if let Some(pause) = self.pause_before_settling() {
                                next = pause;
                            }
                        }
                        Wait::Attempts if self.is_plan_complete() => next = self.start_batch(),
                        Wait::Attempts | Wait::Read | Wait::Store | Wait::Pause => {}
                    }
                }
                read = wait_for_read(&mut self.reading) => {
                    self.apply_read(read);
                    if self.wait == Wait::Read {
                        next = self.store_or_wait();
                    }
                }
                batch = &mut next => next = self.next_step(batch).await,
            }
        }
        // What a batch in progress claims is released below.
        if self.wait == Wait::Store
            && let Some(batch) = next.await
            && let Err(error) = self.apply_batch(batch)
        {
            tracing::warn!(handler = %self.handler.name, %error, "dispatch store batch failed");
        }
        self.shutdown().await;
    }

    /// Reads what is new before the next store batch.
    fn start_step(&mut self) -> NextBatch {
        let is_read_due = self.wake_ups.has_changed() || self.known.needs_read();
        if !is_read_due || !self.open_plans.is_empty() {
            return self.start_batch();
        }
        if self.reading.is_none() {
            self.start_reading(None);
        }
        self.wait = Wait::Read;
        std::future::pending().boxed()
    }

    fn start_batch(&mut self) -> NextBatch {
        self.wait = Wait::Store;
        self.known.check_external_changes(&self.wake_ups);
        self.pacing.record_start(self.prefetch.is_idle());
        self.backpressure.start_step(self.deps.journal.appended_count());
        let now_ms = self.now_ms();
        let leases = self.leases_to_renew();
        let plan = self.take_plan();
        if let Some(plan) = &plan
            && self.known.may_have_more()
            && self.open_plans.is_empty()
            && self.reading.is_none()
        {
            self.start_reading(Some(plan.token.when_stored()));
        }
        let settled_count = MAX_ROWS_PER_BATCH.min(self.unstored_settlements.len());
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
            settled: self.unstored_settlements.drain(..settled_count).collect(),
            claim: self.build_claim(),
            plan,
            next_due: self.known.next_due(),
            read_error: self.read_error.take(),
        };
        async move { Some(batch.run().await) }.boxed()
    }

    /// Continues after a store batch, or after a pause (`None`).
    async fn next_step(&mut self, batch: Option<StoreBatchResult>) -> NextBatch {
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

    /// Settles a finished attempt, and others that have finished meanwhile.
    fn settle_finished(&mut self, finished: FinishedAttempt) {
        self.pacing.record_finished(&finished.claimed);
        self.settle_attempt(finished);
        while let Ok(finished) = self.finished_receiver.try_recv() {
            self.pacing.record_finished(&finished.claimed);
            self.settle_attempt(finished);
        }
    }

    /// The pause until settlements are stored; `None` when the next batch starts earlier anyway.
    fn pause_before_settling(&mut self) -> Option<NextBatch> {
        let start = self.settlement_start();
        if self.pacing.next_start.is_some_and(|decided| decided <= start) {
            return None;
        }
        self.pacing.next_start = Some(start);
        Some(pause_until(start))
    }

    /// Starts the claimed deliveries. Returns whether the batch or the attempts made progress.
    fn apply_batch(&mut self, mut batch: StoreBatchResult) -> Result<bool, StoreError> {
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

    /// Starts attempts while there are permits. Returns whether anything was started, settled or released.
    fn start_attempts(&mut self) -> bool {
        let now_ms = self.now_ms();
        let mut any = self.settle_expired(now_ms);
        // Only deliveries past their maximum age are claimed for a disabled handler, and those are settled now.
        if !self.handler.enabled {
            return self.release_queued() || any;
        }
        loop {
            let decision = self.breaker.check(now_ms);
            let concurrency = match decision {
                BreakerDecision::Allow => usize::from(self.handler.delivery.concurrency),
                BreakerDecision::Probe => usize::from(self.handler.delivery.concurrency).min(PROBES),
                // Released instead of held until the breaker closes: their leases would end, and an operator's
                // `cancel` could not reach them.
                BreakerDecision::DenyUntil(_) => return self.release_queued() || any,
            };
            // Checked before the rate limit: a token must not be spent without an attempt. With leases that may have
            // ended, the next store batch finds out which deliveries still belong to this worker.
            let may_start = self.prefetch.running() < concurrency && !self.lease_timer.may_have_ended(now_ms);
            if !may_start || self.prefetch.has_no_queued() {
                return any;
            }
            if self.rate_limit.as_mut().is_some_and(|rate| !rate.try_acquire(now_ms.unsigned_abs())) {
                return any;
            }
            let Some(claimed) = self.prefetch.start_next(concurrency) else {
                return any;
            };
            any = true;
            if decision == BreakerDecision::Probe {
                self.breaker.start_probe();
            }
            let registered = Arc::clone(&self.handler);
            let clock = self.deps.clock.clone();
            let cancellation = self.cancellation.clone();
            let finished = self.finished_sender.clone();
            self.attempt_tasks.spawn(async move {
                // Fails only after the worker has given up waiting at shutdown.
                let _ = finished.send(run_attempt(registered, claimed, clock, cancellation).await);
            });
        }
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
    pub(super) async fn run_until_idle(&mut self) {
        // Tests change the store by other connections, which are noticed after a while only.
        self.known.forget_due();
        loop {
            self.start_reading(None);
            let read = wait_for_read(&mut self.reading).await;
            self.apply_read(read);
            self.finish_running().await;
            let batch = self.start_batch().await;
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
                tokio::time::sleep_until(pacing.next_small_start()).await;
            }
            None
        }
        .boxed()
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.deps.clock.now_ms()
    }
}

/// Never completes without a read in progress.
async fn wait_for_read(reading: &mut Option<NextRead>) -> Result<ReadEvents, StoreError> {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

fn pause_until(end: Instant) -> NextBatch {
    async move {
        tokio::time::sleep_until(end).await;
        None
    }
    .boxed()
}
