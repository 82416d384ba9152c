//! A store batch: everything a worker asks of the store at one time (settle, plan, claim), sent together so that it
//! shares one transaction and one fsync.

use std::sync::Arc;

use super::plan;
use crate::handlers::RegisteredHandler;
use crate::storage::{ClaimRequest, ClaimedDelivery, HandlerId, PlannedDelivery, SettledDelivery, Store, StoreError};

/// Rows changed by each of the three parts. Few, because a webhook request may wait for the transaction that contains
/// them. More would not be faster: the worker attempts what it has claimed while the store runs the next batch.
pub(super) const MAX_ROWS_PER_BATCH: usize = 64;

pub(super) struct StoreBatch {
    pub(super) store: Arc<dyn Store>,
    pub(super) registered: Arc<RegisteredHandler>,
    pub(super) handler_id: HandlerId,
    pub(super) now_ms: i64,
    /// Deliveries settled since the last batch.
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
    /// Settlements that are not stored yet: those that did not fit, and all of them after an error.
    pub(super) unsettled: Vec<SettledDelivery>,
    pub(super) error: Option<StoreError>,
}

/// Planned deliveries, with the position in the journal up to which they are complete.
struct DeliveryPlan {
    deliveries: Vec<PlannedDelivery>,
    through: i64,
}

impl StoreBatch {
    /// Settles, plans the next events of the journal, and claims what is due after that. The parts fail
    /// independently; the result has the last error.
    pub(super) async fn run(mut self) -> StoreBatchResult {
        let mut unsettled = self.settled.split_off(MAX_ROWS_PER_BATCH.min(self.settled.len()));
        let mut error = None;
        // Reads first: they run on a reader and do not wait for the writer.
        let (plan, due_ms) = tokio::join!(self.plan_next_events(), self.store.next_due_ms(self.handler_id));
        let plan = plan.unwrap_or_else(|failed| {
            error = Some(failed);
            None
        });
        let skipped_count = plan.as_ref().map_or(0, count_skipped);
        let has_changes = plan.is_some() || !self.settled.is_empty();
        // The worker writes only when there is something to claim: settling
        // and planning can make a delivery due in this very transaction, otherwise `due_ms` tells.
        let claim = self.claim.clone().filter(|claim| {
            let is_due = matches!(due_ms, Ok(Some(due_ms)) if due_ms <= claim.due_before_ms);
            has_changes || is_due
        });
        // `join!` polls in this order, so the three writes enter the queue in this order, as a rule into one
        // transaction: the claim then sees deliveries that the settlements and the plan made due.
        let (settled, planned, claimed) = tokio::join!(self.settle(), self.store_plan(plan), self.claim_due(claim));
        let made_progress = has_changes || claimed.as_ref().is_ok_and(|claimed| !claimed.is_empty());
        if let Err(failed) = settled {
            // The attempts were made: losing their results would make them again, so they go into the next batch.
            unsettled.extend(self.settled);
            error = Some(failed);
        }
        if let Err(failed) = planned {
            error = Some(failed);
        }
        let claimed = claimed.unwrap_or_else(|failed| {
            error = Some(failed);
            Vec::new()
        });
        let due_before_ms = self.claim.as_ref().map(|claim| claim.due_before_ms);
        let due_in_ms = match due_ms {
            Ok(due_ms) => due_ms.zip(due_before_ms).map(|(due_ms, before_ms)| due_ms.saturating_sub(before_ms)),
            Err(failed) => {
                error = Some(failed);
                None
            }
        };
        StoreBatchResult { claimed, skipped_count, made_progress, due_in_ms, unsettled, error }
    }

    /// The deliveries that the next events of the journal become; `None` at its end. An event that the filter leaves
    /// out becomes none, but the position moves past it.
    async fn plan_next_events(&self) -> Result<Option<DeliveryPlan>, StoreError> {
        let filter = &self.registered.filter;
        let events = self.store.unplanned_events(self.handler_id, MAX_ROWS_PER_BATCH, filter.needs_body()).await?;
        let Some(through) = events.last().map(|(event, _)| event.seq) else {
            return Ok(None);
        };
        let mut deliveries = Vec::new();
        for (event, body) in &events {
            let matches_filter = filter.matches(event, body.as_ref());
            deliveries.extend(plan::plan_delivery(&self.registered, event, matches_filter));
        }
        Ok(Some(DeliveryPlan { deliveries, through }))
    }

    async fn settle(&self) -> Result<(), StoreError> {
        if self.settled.is_empty() {
            return Ok(());
        }
        self.store.settle_deliveries(self.handler_id, self.settled.clone(), self.now_ms).await
    }

    async fn store_plan(&self, plan: Option<DeliveryPlan>) -> Result<(), StoreError> {
        match plan {
            Some(DeliveryPlan { deliveries, through }) => {
                self.store.plan_deliveries(self.handler_id, deliveries, through, self.now_ms).await
            }
            None => Ok(()),
        }
    }

    async fn claim_due(&self, claim: Option<ClaimRequest>) -> Result<Vec<ClaimedDelivery>, StoreError> {
        match claim {
            Some(claim) => self.store.claim_deliveries(self.handler_id, claim).await,
            None => Ok(Vec::new()),
        }
    }
}

fn count_skipped(plan: &DeliveryPlan) -> u64 {
    plan.deliveries.iter().filter(|planned| planned.skip_reason.is_some()).count() as u64
}
