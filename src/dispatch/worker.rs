//! One worker a handler: plans deliveries from the journal, claims what is due, runs the attempts, settles them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attempt::{Finished, attempt};
use super::breaker::{Allowed, Breaker};
use super::pace::Pace;
use super::ready::Ready;
use super::report;
use super::round::{ROWS, Round, Rounded};
use crate::base::clock::Clock;
use crate::base::supervise::{Crowd, Supervisor};
use crate::handlers::Registered;
use crate::security::bucket::Bucket;
use crate::storage::{BreakerState, Claim, HandlerId, Settled, Store, StoreError};
use crate::telemetry::deliveries::{Deliveries, DeliveryCounts};

/// Deliveries claimed before their turn, so that the handler does not wait for the store: of one company, and of all.
const CLAIMED_EACH: usize = 512;
const CLAIMED: usize = 2_048;
/// Bodies held for a handler; one delivery may be larger.
const HELD_BYTES: u64 = 2 * 1024 * 1024;
/// How long a worker rests after the store failed it.
const STORE_AWAY: Duration = Duration::from_secs(1);
/// How often it looks for work that came in by another way, such as a replay by the command line.
const POLL: Duration = Duration::from_millis(200);
/// A lease lasts this much longer than it takes until what was claimed ahead is through: the result has to be written too.
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

/// A round under way, or a rest.
type Next = BoxFuture<'static, Option<Rounded>>;

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
    /// How many are claimed ahead: more while the handler runs out of them.
    ahead: usize,
    /// Waits for something to do.
    idle: bool,
    /// Events appended when the store was asked last.
    seen: u64,
    pace: Pace,
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
            ahead: 0,
            idle: false,
            seen: 0,
            pace: Pace::default(),
            attempts: Crowd::default(),
            cancellation: CancellationToken::new(),
            finished: mpsc::unbounded_channel(),
            settled: Vec::new(),
            dispatch,
            registered: Arc::new(registered),
        }
    }

    /// Works until the service stops. Attempts begin and end while the store is asked for more.
    pub(super) async fn run(mut self) {
        let stop = self.dispatch.supervisor.clone();
        let mut next = self.round();
        while !stop.is_stopping() {
            tokio::select! {
                () = stop.stopping() => {}
                Some(finished) = self.finished.1.recv() => {
                    self.conclude(finished);
                    self.begin();
                    if self.idle {
                        next = self.round();
                    }
                }
                rounded = &mut next => next = self.go_on(rounded).await,
            }
        }
        if !self.idle
            && let Some(rounded) = next.await
            && let Err(error) = self.take_in(rounded)
        {
            tracing::warn!(handler = %self.registered.name, %error, "stopping while the store is away");
        }
        self.stop().await;
    }

    /// The next look at the store.
    fn round(&mut self) -> Next {
        self.idle = false;
        self.seen = self.dispatch.store.appended_so_far();
        self.pace.begin(self.seen);
        let round = Round {
            store: Arc::clone(&self.dispatch.store),
            registered: Arc::clone(&self.registered),
            id: self.id,
            now_ms: self.now_ms(),
            settled: std::mem::take(&mut self.settled),
            claim: self.claim(),
        };
        async move { Some(round.run().await) }.boxed()
    }

    /// After a round, or a rest, which is `None`.
    async fn go_on(&mut self, rounded: Option<Rounded>) -> Next {
        let Some(rounded) = rounded else {
            return self.round();
        };
        let busy = self.take_in(rounded);
        self.show_breaker().await;
        let rest = match busy {
            Ok(true) => self.pace.rest(self.dispatch.store.appended_so_far()),
            Ok(false) if self.settled.is_empty() => return self.wait(),
            Ok(false) => Duration::ZERO,
            Err(error) => {
                tracing::warn!(handler = %self.registered.name, %error, "dispatch waits for the store");
                STORE_AWAY
            }
        };
        if rest.is_zero() {
            return self.round();
        }
        async move {
            tokio::time::sleep(rest).await;
            None
        }
        .boxed()
    }

    /// Begins what was claimed; says whether there was anything to do.
    fn take_in(&mut self, rounded: Rounded) -> Result<bool, StoreError> {
        self.counts.skipped.fetch_add(rounded.skipped, Ordering::Relaxed);
        self.settled.extend(rounded.unsettled);
        self.company_after = rounded.claimed.last().map_or(self.company_after, |last| last.event.summary.company_id);
        let usual = 2 * usize::from(self.registered.delivery.concurrency);
        let left: usize = self.ready.waiting().values().sum();
        self.ahead = if left == 0 { self.ahead * 2 } else { self.ahead / 2 }.clamp(usual, CLAIMED_EACH.max(usual));
        for claimed in rounded.claimed {
            self.ready.add(claimed);
        }
        let begun = self.begin();
        rounded.failed.map_or(Ok(rounded.busy || begun), Err)
    }

    /// What may be taken now: a little more than the handler needs until the next round.
    fn claim(&self) -> Option<Claim> {
        let now_ms = self.now_ms();
        let (limit, due_before_ms) = match self.breaker.allowed(now_ms) {
            Allowed::All if self.registered.enabled => (CLAIMED, now_ms),
            Allowed::Probe if self.registered.enabled => (usize::from(self.ready.is_idle()), now_ms),
            // Resting or disabled: what became too old meanwhile is ended all the same.
            _ => (CLAIMED, now_ms.saturating_sub(millis(self.registered.delivery.max_age))),
        };
        let waiting = self.ready.waiting();
        let limit = limit.saturating_sub(waiting.values().sum()).min(ROWS);
        if limit == 0 || self.ready.held_bytes() >= HELD_BYTES {
            return None;
        }
        let lease_ms = millis(self.registered.delivery.timeout.saturating_mul(4).saturating_add(LEASE_BEYOND));
        Some(Claim {
            now_ms,
            lease_until_ms: now_ms.saturating_add(lease_ms),
            due_before_ms,
            limit,
            limit_each: self.ahead,
            waiting,
            limit_bytes: HELD_BYTES - self.ready.held_bytes(),
            company_after: self.company_after,
        })
    }

    /// Begins attempts while there is room.
    fn begin(&mut self) -> bool {
        let now_ms = self.now_ms();
        let mut any = self.end_too_old(now_ms);
        loop {
            let room = match self.breaker.allowed(now_ms) {
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

    async fn show_breaker(&mut self) {
        let now_ms = self.now_ms();
        let state = self.breaker.state(now_ms);
        if state != self.shown && self.dispatch.store.note_breaker(self.id, state, now_ms).await.is_ok() {
            self.shown = state;
            report::breaker(&self.registered.name, state);
        }
    }

    /// Waits for events, or for work that came in by another way.
    fn wait(&mut self) -> Next {
        self.idle = true;
        let (store, seen) = (Arc::clone(&self.dispatch.store), self.seen);
        async move {
            let _ = tokio::time::timeout(POLL, store.appended_beyond(seen)).await;
            None
        }
        .boxed()
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
        let settled = std::mem::take(&mut self.settled);
        if !settled.is_empty()
            && let Err(error) = self.dispatch.store.settle(self.id, settled, self.now_ms()).await
        {
            tracing::warn!(handler = %name.name, %error, "stopping: the latest attempts are made again after the next start");
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.dispatch.clock.now_ms()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
