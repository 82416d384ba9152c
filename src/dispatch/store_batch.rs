//! A store batch: everything a worker asks of the store at one time. It settles, plans and claims in one transaction with
//! one fsync; when leases have to be renewed, that is a transaction before it.

use std::sync::Arc;

use super::delivery_log;
use super::plan;
use super::upkeep::{UpkeepResult, UpkeepTasks};
use crate::handlers::RegisteredHandler;
use crate::storage::{
    ClaimRequest, ClaimedDelivery, DeliveryQueue, HandlerId, LeaseToken, PlanOutcome, PlanToken, PlannedDelivery,
    SettledDelivery, StoreError,
};

/// Rows changed by each of settling, planning and claiming. Few, because a webhook request may wait for the transaction
/// that contains them. More would not be faster: the worker attempts what it has claimed while the store runs the next
/// batch.
pub(super) const MAX_ROWS_PER_BATCH: usize = 64;

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
}

pub(super) struct StoreBatchResult {
    /// In the order in which they are to be attempted.
    pub(super) claimed: Vec<ClaimedDelivery>,
    /// Number of planned deliveries that are skipped.
    pub(super) skipped_count: u64,
    /// Whether anything was settled, planned or claimed. If not, the worker waits for events.
    pub(super) made_progress: bool,
    /// Milliseconds until the next delivery can be claimed; negative when it is due already, `None` when there is none
    /// or the worker has no room.
    pub(super) due_in_ms: Option<i64>,
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

pub(super) struct LeaseRenewal {
    pub(super) renewed_at_ms: i64,
    pub(super) lost: Vec<LeaseToken>,
}

/// Planned deliveries, with the batch of events whose deliveries they are.
struct DeliveryPlan {
    deliveries: Vec<PlannedDelivery>,
    batch: PlanToken,
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
        let (plan, due_ms) = tokio::join!(self.plan_next_events(), self.queue.next_due_ms(self.handler_id));
        let plan = ok_or_keep(plan, &mut error).flatten();
        let skipped_count = plan.as_ref().map_or(0, count_skipped);
        let has_changes = plan.is_some() || !self.settled.is_empty();
        // The worker writes only when there is something to claim: settling and planning can make a delivery due in this
        // very transaction, otherwise `due_ms` tells.
        let claim = self.claim.take();
        let due_before_ms = claim.as_ref().map(|claim| claim.due_before_ms);
        let claim = claim.filter(|claim| {
            let is_due = matches!(due_ms, Ok(Some(due_ms)) if due_ms <= claim.due_before_ms);
            has_changes || is_due
        });
        // Before the claim, in a separate transaction: if the renewal failed, the leases may have ended, and the claim
        // would take the deliveries that this worker is attempting. It is skipped then.
        let renewal = self.renew_leases().await;
        let claim = claim.filter(|_| renewal.is_ok());
        // `join!` polls in this order, so the writes enter the queue in this order, as a rule into one transaction: the
        // claim then sees deliveries that the settlements and the plan made due.
        let (refused, planned, claimed) = tokio::join!(self.settle(), self.store_plan(plan), self.claim_due(claim));
        let made_progress = has_changes || claimed.as_ref().is_ok_and(|claimed| !claimed.is_empty());
        let is_planned = matches!(planned, Ok(Some(PlanOutcome::Planned)));
        // The attempts were made: losing their results would make them again, so they go into the next batch.
        let unsettled = if refused.is_err() { std::mem::take(&mut self.settled) } else { Vec::new() };
        let renewal = ok_or_keep(renewal, &mut error).flatten();
        let refused_count = ok_or_keep(refused, &mut error).unwrap_or_default();
        ok_or_keep(planned, &mut error);
        let claimed = ok_or_keep(claimed, &mut error).unwrap_or_default();
        let due_ms = ok_or_keep(due_ms, &mut error).flatten();
        let due_in_ms = due_ms.zip(due_before_ms).map(|(due_ms, before_ms)| due_ms.saturating_sub(before_ms));
        StoreBatchResult {
            claimed,
            skipped_count: if is_planned { skipped_count } else { 0 },
            made_progress,
            due_in_ms,
            unsettled,
            refused_count,
            renewal,
            upkeep,
            error,
        }
    }

    /// The deliveries that the next events of the journal become; `None` at its end. An event that the filter leaves
    /// out becomes none, but the position moves past it.
    async fn plan_next_events(&self) -> Result<Option<DeliveryPlan>, StoreError> {
        let needs_body = self.registered.filter.needs_body();
        let batch = self.queue.next_plan_batch(self.handler_id, MAX_ROWS_PER_BATCH, needs_body).await?;
        let Some(batch) = batch else {
            return Ok(None);
        };
        let mut deliveries = Vec::new();
        for (event, body) in &batch.events {
            let planned = plan::plan_delivery(&self.registered, event, body.as_ref());
            delivery_log::log_routing(&self.registered.name, event, planned.as_ref());
            deliveries.extend(planned);
        }
        Ok(Some(DeliveryPlan { deliveries, batch: batch.token }))
    }

    async fn renew_leases(&self) -> Result<Option<LeaseRenewal>, StoreError> {
        if self.leases.is_empty() {
            return Ok(None);
        }
        let lost = self.queue.renew_leases(self.handler_id, self.leases.clone(), self.lease_until_ms).await?;
        Ok(Some(LeaseRenewal { renewed_at_ms: self.now_ms, lost }))
    }

    async fn settle(&self) -> Result<usize, StoreError> {
        if self.settled.is_empty() {
            return Ok(0);
        }
        self.queue.settle_deliveries(self.handler_id, self.settled.clone(), self.now_ms).await
    }

    async fn store_plan(&self, plan: Option<DeliveryPlan>) -> Result<Option<PlanOutcome>, StoreError> {
        match plan {
            Some(DeliveryPlan { deliveries, batch }) => {
                self.queue.plan_deliveries(self.handler_id, batch, deliveries, self.now_ms).await.map(Some)
            }
            None => Ok(None),
        }
    }

    async fn claim_due(&self, claim: Option<ClaimRequest>) -> Result<Vec<ClaimedDelivery>, StoreError> {
        match claim {
            Some(claim) => self.queue.claim_deliveries(self.handler_id, claim).await,
            None => Ok(Vec::new()),
        }
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
