//! A store batch: everything a worker asks of the store at one time. It settles, plans and claims in one transaction with
//! one fsync; when leases have to be renewed, that is a transaction before it. Without anything to write there is no
//! transaction, and without new events no read either.

use std::sync::Arc;

use bytes::Bytes;

use super::delivery_log;
use super::plan;
use super::upkeep::{UpkeepResult, UpkeepTasks};
use crate::handlers::RegisteredHandler;
use crate::storage::{
    ClaimRequest, ClaimedDelivery, DeliveryPlan, DeliveryQueue, HandlerId, LeaseToken, PlanOutcome, PlanToken,
    QueueUpdate, QueueUpdateOutcome, SettledDelivery, StoreError,
};

/// Rows changed by each of settling, planning and claiming. Few, because a webhook request may wait for the transaction
/// that contains them. More would not be faster: the worker attempts what it has claimed while the store runs the next
/// batch.
pub(super) const MAX_ROWS_PER_BATCH: usize = 128;

/// Bytes of bodies above which a batch of events may have ended for its size.
const MIN_BYTES_OF_FULL_BATCH: usize = 1024 * 1024;

pub(super) struct StoreBatch {
    pub(super) queue: Arc<dyn DeliveryQueue>,
    pub(super) registered: Arc<RegisteredHandler>,
    pub(super) handler_id: HandlerId,
    pub(super) now_ms: i64,
    /// Leases to renew; none while their time has not come.
    pub(super) leases: Vec<LeaseToken>,
    pub(super) lease_until_ms: i64,
    /// What is due of the worker's upkeep.
    pub(super) upkeep: UpkeepTasks,
    /// Deliveries settled since the last batch, at most [`MAX_ROWS_PER_BATCH`].
    pub(super) settled: Vec<SettledDelivery>,
    /// `None` while the worker has no room for further deliveries.
    pub(super) claim: Option<ClaimRequest>,
    pub(super) position: PlanPosition,
    pub(super) next_due: NextDue,
}

/// When the next delivery of a handler is due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum NextDue {
    /// Has to be read from the store.
    #[default]
    Unknown,
    /// `None` when no delivery waits for its time.
    Known(Option<i64>),
}

impl NextDue {
    fn known_ms(self) -> Option<i64> {
        match self {
            Self::Known(due_ms) => due_ms,
            Self::Unknown => None,
        }
    }
}

/// Where a worker is in the journal.
#[derive(Clone, Copy, Default)]
pub(super) struct PlanPosition {
    /// `None` when it has to be read from the store.
    pub(super) token: Option<PlanToken>,
    /// Whether to read events with their bodies.
    pub(super) reads_bodies: bool,
    /// Whether to store the position although no delivery has to be inserted and further events may come.
    pub(super) is_store_due: bool,
}

pub(super) struct StoreBatchResult {
    /// In the order in which they are to be attempted.
    pub(super) claimed: Vec<ClaimedDelivery>,
    /// Number of planned deliveries that are skipped.
    pub(super) skipped_count: u64,
    pub(super) planned: PlannedCounts,
    /// The position after this batch.
    pub(super) token: Option<PlanToken>,
    /// Whether anything was settled, planned or claimed. If not, the worker waits for events.
    pub(super) made_progress: bool,
    pub(super) next_due: NextDue,
    /// Milliseconds until the next delivery can be claimed; negative when it is due already, `None` when there is none
    /// or the worker has no room.
    pub(super) due_in_ms: Option<i64>,
    /// Whether a planned delivery waits for an earlier one of its call.
    pub(super) has_waiting: bool,
    /// The settlements, after an error of the store.
    pub(super) unsettled: Vec<SettledDelivery>,
    /// Settlements that the store refused because their lease had been lost.
    pub(super) refused_count: usize,
    /// The leases that were lost, when leases were renewed.
    pub(super) renewal: Option<LeaseRenewal>,
    /// The outcome of the upkeep; `None` after an error.
    pub(super) upkeep: Option<UpkeepResult>,
    pub(super) error: Option<StoreError>,
}

/// How many events a batch has read, and how many deliveries they become.
#[derive(Clone, Copy, Default)]
pub(super) struct PlannedCounts {
    pub(super) events: usize,
    pub(super) deliveries: usize,
    /// Whether the journal may have further events.
    pub(super) may_have_more: bool,
}

pub(super) struct LeaseRenewal {
    pub(super) renewed_at_ms: i64,
    pub(super) lost: Vec<LeaseToken>,
}

/// The events that a batch has read, and the deliveries that they become.
struct ReadPlan {
    plan: Option<DeliveryPlan>,
    counts: PlannedCounts,
    /// The position after the events.
    token: Option<PlanToken>,
}

impl StoreBatch {
    /// Renews leases, settles, plans the next events of the journal, and claims what is due after that. The parts fail
    /// independently, except that nothing is claimed after a failed renewal; the result has the last error.
    pub(super) async fn run(mut self) -> StoreBatchResult {
        let mut error = None;
        // Before anything is claimed: both can make deliveries due.
        let upkeep = self.upkeep.run(&*self.queue, self.handler_id, self.now_ms).await;
        let upkeep = ok_or_keep(upkeep, &mut error);
        // Reads first: they run on a reader and do not wait for the writer.
        let (read, next_due) = tokio::join!(self.plan_next_events(), self.read_next_due());
        let read = ok_or_keep(read, &mut error).unwrap_or(ReadPlan {
            plan: None,
            counts: PlannedCounts::default(),
            token: self.position.token,
        });
        let next_due = ok_or_keep(next_due, &mut error).unwrap_or_default();
        // Before the claim, in a separate transaction: if the renewal failed, the leases may have ended, and the claim
        // would take the deliveries that this worker is attempting. It is skipped then.
        let renewal = self.renew_leases().await;
        let due_before_ms = self.claim.as_ref().map(|claim| claim.due_before_ms);
        let update = self.build_update(read.plan, next_due.known_ms(), renewal.is_ok());
        let mut result = StoreBatchResult {
            claimed: Vec::new(),
            skipped_count: 0,
            planned: read.counts,
            token: read.token,
            made_progress: read.counts.events > 0 || !self.settled.is_empty(),
            next_due,
            due_in_ms: None,
            has_waiting: false,
            unsettled: Vec::new(),
            refused_count: 0,
            renewal: ok_or_keep(renewal, &mut error).flatten(),
            upkeep,
            error,
        };
        if let Some(update) = update {
            let skipped_count = update.plan.as_ref().map_or(0, count_skipped);
            let next_token = update.plan.as_ref().filter(|_| read.counts.may_have_more).map(|plan| plan.token);
            // The next events are read while the writer works. The store keeps them for the next batch.
            let (updated, ()) =
                tokio::join!(self.queue.update_queue(self.handler_id, update), self.read_ahead(next_token));
            match updated {
                Ok(outcome) => result.apply(outcome, skipped_count, self.settled),
                Err(error) => result.fail(error, self.settled),
            }
        }
        let due_ms = result.next_due.known_ms();
        result.due_in_ms = due_ms.zip(due_before_ms).map(|(due_ms, before_ms)| due_ms.saturating_sub(before_ms));
        result
    }

    /// The deliveries that the next events of the journal become. An event that the filter leaves out becomes none, but
    /// the position moves past it.
    async fn plan_next_events(&self) -> Result<ReadPlan, StoreError> {
        let PlanPosition { token, reads_bodies, is_store_due } = self.position;
        let needs_body = self.registered.filter.needs_body();
        let bodies = needs_body || (reads_bodies && self.claim.is_some());
        let batch = self.queue.plan_batch_after(self.handler_id, token, MAX_ROWS_PER_BATCH, bodies).await?;
        let Some(batch) = batch else {
            // After the last of the events, their position is stored.
            let unstored = token.filter(|token| !token.is_stored());
            let plan = unstored.map(|token| DeliveryPlan { token, deliveries: Vec::new(), events: [].into() });
            return Ok(ReadPlan { plan, counts: PlannedCounts::default(), token });
        };
        let mut deliveries = Vec::new();
        for (event, body) in &*batch.events {
            let planned = plan::plan_delivery(&self.registered, event, body.as_ref());
            delivery_log::log_routing(&self.registered.name, event, planned.as_ref());
            deliveries.extend(planned);
        }
        // With bodies, a batch can end before the limit of rows.
        let body_bytes: usize = batch.events.iter().filter_map(|(_, body)| body.as_ref()).map(Bytes::len).sum();
        let may_have_more = batch.events.len() == MAX_ROWS_PER_BATCH || body_bytes >= MIN_BYTES_OF_FULL_BATCH;
        let counts = PlannedCounts { events: batch.events.len(), deliveries: deliveries.len(), may_have_more };
        let is_stored = !deliveries.is_empty() || is_store_due;
        let plan = is_stored.then_some(DeliveryPlan { token: batch.token, deliveries, events: batch.events });
        Ok(ReadPlan { plan, counts, token: Some(batch.token) })
    }

    async fn read_ahead(&self, token: Option<PlanToken>) {
        if let Some(token) = token {
            let bodies = self.registered.filter.needs_body() || self.position.reads_bodies;
            // An error is not lost: the next batch reads again.
            let _ = self
                .queue
                .plan_batch_after(self.handler_id, Some(token.when_stored()), MAX_ROWS_PER_BATCH, bodies)
                .await;
        }
    }

    async fn read_next_due(&self) -> Result<NextDue, StoreError> {
        match self.next_due {
            NextDue::Unknown => self.queue.next_due_ms(self.handler_id).await.map(NextDue::Known),
            known @ NextDue::Known(_) => Ok(known),
        }
    }

    async fn renew_leases(&self) -> Result<Option<LeaseRenewal>, StoreError> {
        if self.leases.is_empty() {
            return Ok(None);
        }
        let lost = self.queue.renew_leases(self.handler_id, self.leases.clone(), self.lease_until_ms).await?;
        Ok(Some(LeaseRenewal { renewed_at_ms: self.now_ms, lost }))
    }

    /// What is to be written; `None` without a change. The worker writes only when there is something to settle or to
    /// plan, which can make a delivery due in this very transaction, or something is due already.
    fn build_update(
        &mut self,
        plan: Option<DeliveryPlan>,
        due_ms: Option<i64>,
        may_claim: bool,
    ) -> Option<QueueUpdate> {
        let claim = self.claim.take();
        let is_due = claim.as_ref().is_some_and(|claim| due_ms.is_some_and(|due_ms| due_ms <= claim.due_before_ms));
        if plan.is_none() && self.settled.is_empty() && !(is_due && may_claim) {
            return None;
        }
        let claim = claim.filter(|_| may_claim);
        Some(QueueUpdate { now_ms: self.now_ms, settled: self.settled.clone(), plan, claim })
    }
}

impl StoreBatchResult {
    /// Takes over what the store has changed. `settled` is kept after an error: the attempts were made, and losing their
    /// results would make them again.
    fn apply(&mut self, outcome: QueueUpdateOutcome, skipped_count: u64, settled: Vec<SettledDelivery>) {
        match ok_or_keep(outcome.refused, &mut self.error) {
            Some(refused_count) => self.refused_count = refused_count,
            None => self.unsettled = settled,
        }
        match ok_or_keep(outcome.planned, &mut self.error) {
            Some(None) => {}
            Some(Some(PlanOutcome::Planned)) => {
                self.token = self.token.map(PlanToken::when_stored);
                self.skipped_count = skipped_count;
            }
            Some(Some(PlanOutcome::Stale)) | None => self.token = None,
        }
        self.claimed = ok_or_keep(outcome.claimed, &mut self.error).unwrap_or_default();
        self.made_progress |= !self.claimed.is_empty();
        self.next_due = NextDue::Known(outcome.next_due_ms);
        self.has_waiting = outcome.has_waiting;
    }

    /// Takes over that the update failed: what the store has is not known.
    fn fail(&mut self, error: StoreError, settled: Vec<SettledDelivery>) {
        self.error = Some(error);
        self.unsettled = settled;
        self.token = None;
        self.next_due = NextDue::Unknown;
    }
}

/// The value of `result`; `None` after an error, which is put into `error`.
fn ok_or_keep<T>(result: Result<T, StoreError>, error: &mut Option<StoreError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(failed) => {
            *error = Some(failed);
            None
        }
    }
}

fn count_skipped(plan: &DeliveryPlan) -> u64 {
    plan.deliveries.iter().filter(|planned| planned.skip_reason.is_some()).count() as u64
}
