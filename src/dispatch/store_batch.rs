//! A round: what a worker asks of the store, at once, so that it shares one commit.

use std::sync::Arc;

use super::plan;
use crate::handlers::RegisteredHandler;
use crate::storage::{ClaimRequest, ClaimedDelivery, HandlerId, PlannedDelivery, SettledDelivery, Store, StoreError};

/// Rows changed by each part of a round: few, since a transaction that a request waits for has such parts in it. More at
/// once would not be faster either: what was claimed is then worked on while the store is asked for more.
pub(super) const MAX_ROWS_PER_BATCH: usize = 64;

/// What is asked.
pub(super) struct StoreBatch {
    pub(super) store: Arc<dyn Store>,
    pub(super) registered: Arc<RegisteredHandler>,
    pub(super) handler_id: HandlerId,
    pub(super) now_ms: i64,
    /// What ended since the last round.
    pub(super) settled: Vec<SettledDelivery>,
    /// What may be taken; none while there is no room.
    pub(super) claim: Option<ClaimRequest>,
}

/// What came of it.
pub(super) struct StoreBatchResult {
    /// Taken, in this order.
    pub(super) claimed: Vec<ClaimedDelivery>,
    /// Events that became no attempt.
    pub(super) skipped_count: u64,
    /// Whether anything was done.
    pub(super) made_progress: bool,
    /// What could not be written down yet.
    pub(super) unsettled: Vec<SettledDelivery>,
    pub(super) error: Option<StoreError>,
}

impl StoreBatch {
    /// Writes down what ended, makes deliveries of the next events, and takes what is due then.
    pub(super) async fn run(mut self) -> StoreBatchResult {
        let mut unsettled = self.settled.split_off(MAX_ROWS_PER_BATCH.min(self.settled.len()));
        let (news, due_ms) = tokio::join!(self.plan_next_events(), self.store.next_due_ms(self.handler_id));
        let mut failed = None;
        let planned = news.unwrap_or_else(|error| {
            failed = Some(error);
            None
        });
        let skipped = planned.iter().flat_map(|(planned, _)| planned).filter(|planned| planned.skip_reason.is_some());
        let skipped = skipped.count() as u64;
        let changes = planned.is_some() || !self.settled.is_empty();
        let claim = self.claim.clone().filter(|claim| {
            changes || due_ms.as_ref().is_ok_and(|due_ms| due_ms.is_some_and(|due_ms| due_ms <= claim.due_before_ms))
        });
        // In this order, within one transaction as a rule.
        let (settled, planned, claimed) = tokio::join!(self.settle(), self.store_plan(planned), self.claim_due(claim));
        let busy = changes || claimed.as_ref().is_ok_and(|claimed| !claimed.is_empty());
        if settled.is_err() {
            unsettled.extend(self.settled);
        }
        let mut note = |error| failed = Some(error);
        settled.unwrap_or_else(&mut note);
        planned.unwrap_or_else(&mut note);
        let claimed = claimed.unwrap_or_else(|error| {
            note(error);
            Vec::new()
        });
        if let Err(error) = due_ms {
            note(error);
        }
        StoreBatchResult { claimed, skipped_count: skipped, made_progress: busy, unsettled, error: failed }
    }

    /// The deliveries that the next events of the journal become, and the last of these events.
    async fn plan_next_events(&self) -> Result<Option<(Vec<PlannedDelivery>, i64)>, StoreError> {
        let filter = &self.registered.filter;
        let events = self.store.unplanned_events(self.handler_id, MAX_ROWS_PER_BATCH, filter.needs_body()).await?;
        let Some(through) = events.last().map(|(event, _)| event.seq) else {
            return Ok(None);
        };
        let planned = events.iter().filter_map(|(event, body)| {
            plan::plan_delivery(&self.registered, event, filter.matches(event, body.as_ref()))
        });
        Ok(Some((planned.collect(), through)))
    }

    async fn settle(&self) -> Result<(), StoreError> {
        if self.settled.is_empty() {
            return Ok(());
        }
        self.store.settle_deliveries(self.handler_id, self.settled.clone(), self.now_ms).await
    }

    async fn store_plan(&self, planned: Option<(Vec<PlannedDelivery>, i64)>) -> Result<(), StoreError> {
        match planned {
            Some((planned, through)) => {
                self.store.plan_deliveries(self.handler_id, planned, through, self.now_ms).await
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
