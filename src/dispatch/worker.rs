//! One worker a handler: plans deliveries from the journal, claims what is due, runs the attempts, settles them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attempt::{Finished, attempt};
use super::breaker::{Allowed, Breaker};
use super::pace::Pace;
use super::plan;
use super::ready::Ready;
use crate::base::clock::Clock;
use crate::base::supervise::{Crowd, Supervisor};
use crate::handlers::Registered;
use crate::security::bucket::Bucket;
use crate::storage::{BreakerState, Claim, HandlerId, Settled, Store, StoreError};
use crate::telemetry::deliveries::{Deliveries, DeliveryCounts};

/// Events planned at once.
const PLANNED: usize = 512;
/// Deliveries claimed before their turn, so that the handler does not wait for the store: of one company, and of all.
const CLAIMED_EACH: usize = 128;
const CLAIMED: usize = 1_024;
/// Bodies held for a handler; one delivery may be larger.
const HELD_BYTES: u64 = 8 * 1024 * 1024;
/// How long a worker rests after the store failed it.
const STORE_AWAY: Duration = Duration::from_secs(1);
/// How often it looks for work that came in by another way, such as a replay by the command line.
const POLL: Duration = Duration::from_millis(200);
/// A lease lasts this much longer than an attempt may take: the result has to be written too.
const LEASE_BEYOND: Duration = Duration::from_secs(600);
/// How long attempts under way may take to end when the service stops.
const STOPPING: Duration = Duration::from_secs(8);

/// What the workers need.
#[derive(Clone)]
pub struct Dispatch {
    /// Where events come from and what became of them goes to.
    pub store: Arc<dyn Store>,
    /// For retry times.
    pub clock: Clock,
    /// Tells the workers to stop.
    pub supervisor: Supervisor,
    /// Counts what attempts come to.
    pub deliveries: Deliveries,
}

/// A handler at work.
pub(super) struct Worker {
    pub(super) dispatch: Dispatch,
    pub(super) registered: Arc<Registered>,
    id: HandlerId,
    pub(super) counts: Arc<DeliveryCounts>,
    pub(super) breaker: Breaker,
    shown: BreakerState,
    rate: Option<Bucket>,
    pub(super) ready: Ready,
    company_after: i64,
    attempts: Crowd,
    cancellation: CancellationToken,
    finished: (mpsc::UnboundedSender<Finished>, mpsc::UnboundedReceiver<Finished>),
    /// What ended and is not written down yet.
    pub(super) settled: Vec<Settled>,
}

impl Worker {
    pub(super) fn new(dispatch: Dispatch, registered: Registered, id: HandlerId) -> Self {
        let now = dispatch.clock.now_ms().unsigned_abs();
        Self {
            id,
            counts: dispatch.deliveries.handler(&registered.name),
            breaker: Breaker::default(),
            shown: BreakerState::Closed,
            rate: registered.delivery.rate_per_second.map(|rate| Bucket::new(rate, rate, now)),
            ready: Ready::default(),
            company_after: 0,
            attempts: Crowd::default(),
            cancellation: CancellationToken::new(),
            finished: mpsc::unbounded_channel(),
            settled: Vec::new(),
            dispatch,
            registered: Arc::new(registered),
        }
    }

    /// Works until the service stops.
    pub(super) async fn run(mut self) {
        let stop = self.dispatch.supervisor.clone();
        let mut pace = Pace::default();
        while !stop.is_stopping() {
            let seen = self.dispatch.store.appended_so_far();
            pace.begin(seen);
            match self.step().await {
                Ok(true) => self.pause(pace.rest(self.dispatch.store.appended_so_far())).await,
                Ok(false) => self.wait(seen).await,
                Err(error) => {
                    tracing::warn!(handler = %self.registered.name, %error, "dispatch waits for the store");
                    self.pause(STORE_AWAY).await;
                }
            }
        }
        self.stop().await;
    }

    /// Everything that can be done now; says whether there was anything.
    async fn step(&mut self) -> Result<bool, StoreError> {
        let settled = self.settle().await?;
        let planned = self.plan().await?;
        let claimed = self.claim().await?;
        let begun = self.begin();
        self.show_breaker().await?;
        Ok(settled || planned || claimed || begun)
    }

    /// Makes deliveries of the next events of the journal.
    async fn plan(&self) -> Result<bool, StoreError> {
        let filter = &self.registered.filter;
        let events = self.dispatch.store.unplanned(self.id, PLANNED, filter.needs_body()).await?;
        let Some(through) = events.last().map(|(event, _)| event.seq) else {
            return Ok(false);
        };
        let planned = events
            .iter()
            .filter_map(|(event, body)| plan::planned(&self.registered, event, filter.matches(event, body.as_ref())));
        let planned: Vec<_> = planned.collect();
        let skipped = planned.iter().filter(|planned| planned.skipped.is_some()).count();
        self.dispatch.store.plan(self.id, planned, through, self.now_ms()).await?;
        self.counts.skipped.fetch_add(skipped as u64, Ordering::Relaxed);
        Ok(true)
    }

    /// Takes what is due, for the attempts to come.
    async fn claim(&mut self) -> Result<bool, StoreError> {
        let now_ms = self.now_ms();
        let (limit, due_before_ms) = match self.allowed(now_ms) {
            Allowed::All => (CLAIMED, now_ms),
            Allowed::Probe if self.ready.is_idle() => (1, now_ms),
            Allowed::Probe => return Ok(false),
            // What became too old meanwhile is ended all the same.
            Allowed::NotBefore(_) => (CLAIMED, now_ms.saturating_sub(millis(self.registered.delivery.max_age))),
        };
        let waiting = self.ready.waiting();
        let limit = limit.saturating_sub(waiting.values().sum());
        if limit == 0 || self.ready.held_bytes() >= HELD_BYTES {
            return Ok(false);
        }
        if self.dispatch.store.next_due(self.id).await?.is_none_or(|due_ms| due_ms > due_before_ms) {
            return Ok(false);
        }
        let lease_ms = millis(self.registered.delivery.timeout.saturating_add(LEASE_BEYOND));
        let claim = Claim {
            now_ms,
            lease_until_ms: now_ms.saturating_add(lease_ms),
            due_before_ms,
            limit,
            limit_each: CLAIMED_EACH,
            waiting,
            limit_bytes: HELD_BYTES - self.ready.held_bytes(),
            company_after: self.company_after,
        };
        let claimed = self.dispatch.store.claim(self.id, claim).await?;
        self.company_after = claimed.last().map_or(self.company_after, |last| last.event.summary.company_id);
        let any = !claimed.is_empty();
        for claimed in claimed {
            self.ready.add(claimed);
        }
        Ok(any)
    }

    /// Begins attempts while there is room.
    fn begin(&mut self) -> bool {
        let now_ms = self.now_ms();
        let mut any = self.end_too_old(now_ms);
        loop {
            let room = match self.allowed(now_ms) {
                Allowed::All => usize::from(self.registered.delivery.concurrency),
                Allowed::Probe => 1,
                Allowed::NotBefore(_) => return self.give_back() || any,
            };
            if self.ready.under_way() >= room || self.ready.nothing_waits() {
                return any;
            }
            if self.rate.as_mut().is_some_and(|rate| !rate.take(now_ms.unsigned_abs())) {
                return any;
            }
            let Some(claimed) = self.ready.begin(room) else {
                return any;
            };
            any = true;
            let (registered, clock) = (Arc::clone(&self.registered), self.dispatch.clock.clone());
            let (finished, cancellation) = (self.finished.0.clone(), self.cancellation.clone());
            self.attempts.spawn(async move {
                let _ = finished.send(attempt(registered, claimed, clock, cancellation).await);
            });
        }
    }

    /// Writes down what ended. While the store is away it is kept: the handler is not given the same events again.
    async fn settle(&mut self) -> Result<bool, StoreError> {
        while let Ok(finished) = self.finished.1.try_recv() {
            self.conclude(finished);
        }
        if self.settled.is_empty() {
            return Ok(false);
        }
        self.dispatch.store.settle(self.id, self.settled.clone(), self.now_ms()).await?;
        self.settled.clear();
        Ok(true)
    }

    async fn show_breaker(&mut self) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        let state = self.breaker.state(now_ms);
        if state != self.shown {
            self.dispatch.store.note_breaker(self.id, state, now_ms).await?;
            self.shown = state;
            super::report::breaker(&self.registered.name, state);
        }
        Ok(())
    }

    /// Waits for an attempt to end, for events, or for work that came in by another way.
    async fn wait(&mut self, seen: u64) {
        tokio::select! {
            () = self.dispatch.supervisor.stopping() => {}
            () = self.dispatch.store.appended_beyond(seen) => {}
            () = tokio::time::sleep(POLL) => {}
            Some(finished) = self.finished.1.recv() => self.conclude(finished),
        }
    }

    async fn pause(&self, rest: Duration) {
        tokio::select! {
            () = self.dispatch.supervisor.stopping() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }

    /// Lets attempts under way end, gives back the rest, and writes it down.
    async fn stop(mut self) {
        self.cancellation.cancel();
        self.give_back();
        let name = Arc::clone(&self.registered);
        let give_up = tokio::time::Instant::now() + STOPPING;
        while self.ready.under_way() > 0 {
            let Ok(Some(finished)) = tokio::time::timeout_at(give_up, self.finished.1.recv()).await else {
                tracing::warn!(handler = %name.name, "stopping: attempts still under way are made again after the next start");
                break;
            };
            self.conclude(finished);
        }
        if let Err(error) = self.settle().await {
            tracing::warn!(handler = %name.name, %error, "stopping: the latest attempts are made again after the next start");
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.dispatch.clock.now_ms()
    }

    fn allowed(&self, now_ms: i64) -> Allowed {
        self.breaker.allowed(now_ms)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
