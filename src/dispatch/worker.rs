//! One worker a handler.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};

use super::pace::Pace;
use super::plan;
use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::handlers::{Context, Outcome, Registered};
use crate::storage::{Delivery, Settlement, Store, StoreError};
use crate::telemetry::deliveries::{Deliveries, DeliveryCounts};

/// Events read at once.
const BATCH: usize = 128;
/// Calls of which events are handled at the same time.
const CALLS: usize = 64;
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(60);
/// How long a worker rests after the store failed it.
const STORE_AWAY: Duration = Duration::from_secs(1);

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

pub(super) struct Worker {
    pub(super) dispatch: Dispatch,
    pub(super) registered: Registered,
    pub(super) counts: Arc<DeliveryCounts>,
}

impl Worker {
    pub(super) async fn run(self) {
        let stop = self.dispatch.supervisor.clone();
        let mut pace = Pace::default();
        while !stop.is_stopping() {
            let seen = self.dispatch.store.appended_so_far();
            pace.begin(seen);
            match self.step().await {
                Ok(true) => {
                    self.pause(pace.rest(self.dispatch.store.appended_so_far())).await;
                }
                Ok(false) => tokio::select! {
                    () = stop.stopping() => {}
                    () = self.dispatch.store.appended_beyond(seen) => {}
                },
                Err(error) => {
                    tracing::warn!(handler = %self.registered.name, %error, "dispatch waits for the store");
                    self.pause(STORE_AWAY).await;
                }
            }
        }
    }

    /// Handles what is due and the next events of the journal; says whether there was anything.
    async fn step(&self) -> Result<bool, StoreError> {
        let name = &self.registered.name;
        let due = self.dispatch.store.due_deliveries(name, self.dispatch.clock.now_ms(), BATCH).await?;
        let news = self.dispatch.store.next_deliveries(name, BATCH).await?;
        let through = news.last().map(|delivery| delivery.event.summary.seq);
        if due.is_empty() && through.is_none() {
            return Ok(false);
        }
        let settled = self.handle_all(due.into_iter().chain(news)).await;
        self.settle(settled, through).await;
        Ok(true)
    }

    /// Insists: going on without it would hand the same events to the handler again and again while the store is away.
    async fn settle(&self, settled: Vec<Settlement>, through: Option<i64>) {
        let name = &self.registered.name;
        while let Err(error) = self.dispatch.store.settle(name, settled.clone(), through).await {
            tracing::warn!(handler = %name, %error, "what was handled cannot be noted yet; trying again");
            if self.pause(STORE_AWAY).await {
                tracing::warn!(handler = %name, "stopping: the latest events are handled again after the next start");
                return;
            }
        }
    }

    /// Rests; says whether the service is stopping.
    async fn pause(&self, rest: Duration) -> bool {
        tokio::select! {
            () = self.dispatch.supervisor.stopping() => true,
            () = tokio::time::sleep(rest) => false,
        }
    }

    /// One call's events one after the other, different calls side by side. Only what is not simply done for a new
    /// event is returned: passing it is enough then.
    async fn handle_all(&self, deliveries: impl Iterator<Item = Delivery>) -> Vec<Settlement> {
        let mut lanes: BTreeMap<Lane, Vec<Delivery>> = BTreeMap::new();
        for delivery in deliveries.filter(|delivery| delivery.attempts > 0 || self.wants(delivery)) {
            lanes.entry(Lane::of(&delivery)).or_default().push(delivery);
        }
        stream::iter(lanes.into_values())
            .map(|lane| async move {
                let mut settled = Vec::new();
                for delivery in lane {
                    settled.extend(self.handle(delivery).await);
                }
                settled
            })
            .buffer_unordered(CALLS)
            .concat()
            .await
    }

    fn wants(&self, delivery: &Delivery) -> bool {
        self.registered.filter.matches(&delivery.event.summary, delivery.event.body.as_ref().ok())
    }

    async fn handle(&self, delivery: Delivery) -> Option<Settlement> {
        let attempt = delivery.attempts + 1;
        let seq = delivery.event.summary.seq;
        let outcome = self.attempt(&delivery, attempt).await;
        if outcome == Outcome::Done && delivery.attempts == 0 {
            self.counts.succeeded.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let settlement = plan::next(seq, attempt, outcome, self.dispatch.clock.now_ms());
        let counter = match &settlement {
            Settlement::Done { .. } => &self.counts.succeeded,
            Settlement::Scheduled { .. } => &self.counts.scheduled,
            Settlement::Dead { .. } => &self.counts.dead,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.report(&delivery, &settlement);
        Some(settlement)
    }

    /// A panic or a time-out in a handler is a failed attempt, not the end of the worker.
    async fn attempt(&self, delivery: &Delivery, attempt: u32) -> Outcome {
        let summary = &delivery.event.summary;
        let company = (summary.company_id, summary.company.as_str());
        let mut context = Context::new(summary.id, company, summary.received_at_ms);
        (context.attempt, context.revision_of) = (attempt, summary.revision_of);
        let handler = &self.registered.handler;
        let run = async {
            let body = match &delivery.event.body {
                Ok(body) => body,
                Err(why) => return Outcome::fail(why),
            };
            handler.deliver(summary, body, &context).await.outcome
        };
        match tokio::time::timeout(ATTEMPT, AssertUnwindSafe(run).catch_unwind()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::retry("the handler panicked"),
            Err(_) => Outcome::retry("the handler took longer than 60 s"),
        }
    }

    fn report(&self, delivery: &Delivery, settlement: &Settlement) {
        let (handler, event_id) = (&self.registered.name, delivery.event.summary.id);
        match settlement {
            Settlement::Done { .. } => tracing::info!(handler, %event_id, "webhook delivery succeeded after a retry"),
            Settlement::Scheduled { attempts, error, .. } => {
                tracing::warn!(handler, %event_id, attempts, error, "webhook delivery failed; it is tried again");
            }
            Settlement::Dead { attempts, error, .. } => {
                tracing::error!(handler, %event_id, attempts, error, "webhook delivery is dead: given up");
            }
        }
    }
}

/// Events in one lane are handled in order. An event without a call has a lane of its own.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Call(String, String),
    Alone(i64),
}

impl Lane {
    fn of(delivery: &Delivery) -> Self {
        let summary = &delivery.event.summary;
        match &summary.call_id {
            Some(call_id) => Self::Call(summary.company.clone(), call_id.clone()),
            None => Self::Alone(summary.seq),
        }
    }
}
