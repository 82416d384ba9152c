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
mod steps;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::open_plans::OpenPlans;
use self::pacing::Pacing;
use self::position::KnownState;
use self::steps::POLL_INTERVAL;
use super::attempt::{FinishedAttempt, run_attempt};
use super::backpressure::Backpressure;
use super::breaker::{BreakerDecision, CircuitBreaker, PROBES};
use super::budget::{PrefetchBudget, PrefetchShare};
use super::delivery_log::DeliveryLog;
use super::event_read::ReadEvents;
use super::lease::LeaseTimer;
use super::prefetch::PrefetchQueue;
use super::store_batch::StoreBatchResult;
use super::upkeep::Upkeep;
use crate::base::clock::Clock;
use crate::base::id::CompanyId;
use crate::base::supervise::{Supervisor, TaskGroup};
use crate::base::token_bucket::TokenBucket;
use crate::handlers::RegisteredHandler;
use crate::storage::{BreakerState, DeliveryQueue, HandlerId, Journal, SettledDelivery, StoreError, WakeUps};
use crate::telemetry::deliveries::{DeliveryCounts, DeliveryMetrics};

/// How long attempts may run within the worker's own task, at one time.
const MAX_INLINE: Duration = Duration::from_millis(1);

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
    /// Whether its deliveries change rows of calls, which takes the store several times as long.
    pub(super) merges_calls: bool,
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
            merges_calls: false,
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
                        Wait::Attempts if self.prefetch.is_idle() => next = self.store_or_wait(),
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

    /// Settles a finished attempt, and others that have finished meanwhile.
    fn settle_finished(&mut self, finished: FinishedAttempt) {
        self.pacing.record_finished(&finished.claimed);
        self.settle_attempt(finished);
        while let Ok(finished) = self.finished_receiver.try_recv() {
            self.pacing.record_finished(&finished.claimed);
            self.settle_attempt(finished);
        }
    }

    /// Starts attempts while there are permits. Returns whether anything was started, settled or released.
    fn start_attempts(&mut self) -> bool {
        let inline_until = Instant::now() + MAX_INLINE;
        let mut any = self.settle_expired(self.now_ms());
        // Only deliveries past their maximum age are claimed for a disabled handler, and those are settled now.
        if !self.handler.enabled {
            return self.release_queued() || any;
        }
        loop {
            // Not once for all: an attempt that ended within this loop may have opened the breaker.
            let now_ms = self.now_ms();
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
            let clock = self.deps.clock.clone();
            let mut attempt = run_attempt(Arc::clone(&self.handler), claimed, clock, self.cancellation.clone()).boxed();
            // A handler that has nothing to wait for needs no task. The time is bounded: meanwhile the worker does nothing
            // else, and only one thread works for the handler.
            if inline_until > Instant::now()
                && let Some(finished) = attempt.as_mut().now_or_never()
            {
                self.settle_finished(finished);
                continue;
            }
            let finished = self.finished_sender.clone();
            self.attempt_tasks.spawn(async move {
                // Fails only after the worker has given up waiting at shutdown.
                let _ = finished.send(attempt.await);
            });
        }
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
        sleep_until(end).await;
        None
    }
    .boxed()
}

/// Returns at once when `end` has passed; a timer would take until its next millisecond.
async fn sleep_until(end: Instant) {
    if end > Instant::now() {
        tokio::time::sleep_until(end).await;
    }
}
