//! A store batch: everything a worker changes in the store at one time. It settles, plans and claims in one transaction
//! with one fsync; when leases have to be renewed, that is a transaction before it. Without anything to write there is no
//! transaction.

use std::sync::Arc;

use super::upkeep::{UpkeepResult, UpkeepTasks};
use crate::storage::{
    ClaimRequest, ClaimedDelivery, DeliveryPlan, DeliveryQueue, HandlerId, LeaseToken, PlanOutcome, PlanToken,
    QueueUpdate, QueueUpdateOutcome, SettledDelivery, StoreError,
};

/// Rows changed by each of settling, planning and claiming. Few, because a webhook request may wait for the transaction
/// that contains them. More would not be faster: the worker attempts what it has claimed while the store runs the next
/// batch.
pub(super) const MAX_ROWS_PER_BATCH: usize = 128;

pub(super) struct StoreBatch {
    pub(super) queue: Arc<dyn DeliveryQueue>,
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
    pub(super) plan: Option<DeliveryPlan>,
    pub(super) next_due: NextDue,
    /// Whether no attempt waits for the batch.
    pub(super) is_deferrable: bool,
    /// Why the next events could not be read.
    pub(super) read_error: Option<StoreError>,
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

#[derive(Default)]
pub(super) struct StoreBatchResult {
    /// In the order in which they are to be attempted.
    pub(super) claimed: Vec<ClaimedDelivery>,
    /// Number of planned deliveries that are skipped.
    pub(super) skipped_count: u64,
    /// `None` when there was nothing to plan.
    pub(super) plan: Option<StoredPlan>,
    /// Whether anything was settled, planned or claimed. If not, the worker waits for events.
    pub(super) made_progress: bool,
    pub(super) next_due: NextDue,
    /// Number of deliveries in the store that have not ended, if known.
    pub(super) unfinished: Option<usize>,
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

pub(super) struct LeaseRenewal {
    pub(super) renewed_at_ms: i64,
    pub(super) lost: Vec<LeaseToken>,
}

/// The outcome of storing a plan.
pub(super) enum StoredPlan {
    Stored(PlanToken),
    /// Others have planned its events.
    Stale,
    /// It has to be stored again: its events may have been attempted.
    Failed(DeliveryPlan),
}

impl StoreBatch {
    /// Renews leases, settles, plans, and claims what is due after that. The parts fail independently, except that nothing
    /// is claimed after a failed renewal; the result has the last error.
    pub(super) async fn run(mut self) -> StoreBatchResult {
        let mut error = self.read_error.take();
        // Before anything is claimed: both can make deliveries due.
        let upkeep = self.upkeep.run(&*self.queue, self.handler_id, self.now_ms).await;
        let upkeep = ok_or_keep(upkeep, &mut error);
        let next_due = ok_or_keep(self.read_next_due().await, &mut error).unwrap_or_default();
        // Before the claim, in a separate transaction: if the renewal failed, the leases may have ended, and the claim
        // would take the deliveries that this worker is attempting. It is skipped then.
        let renewal = self.renew_leases().await;
        let due_before_ms = self.claim.as_ref().map(|claim| claim.due_before_ms);
        let update = self.build_update(next_due.known_ms(), renewal.is_ok());
        let mut result = StoreBatchResult {
            unfinished: matches!(next_due, NextDue::Known(None)).then_some(0),
            next_due,
            renewal: ok_or_keep(renewal, &mut error).flatten(),
            upkeep,
            error,
            ..StoreBatchResult::default()
        };
        if let Some(update) = update {
            let update = Arc::new(update);
            let outcome = self.queue.update_queue(self.handler_id, Arc::clone(&update)).await;
            let update = Arc::unwrap_or_clone(update);
            match outcome {
                Ok(outcome) => result.apply(outcome, update),
                Err(error) => result.fail(error, update),
            }
        }
        let due_ms = result.next_due.known_ms();
        result.due_in_ms = due_ms.zip(due_before_ms).map(|(due_ms, before_ms)| due_ms.saturating_sub(before_ms));
        result
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
    fn build_update(&mut self, due_ms: Option<i64>, may_claim: bool) -> Option<QueueUpdate> {
        let (claim, plan) = (self.claim.take(), self.plan.take());
        let is_due = claim.as_ref().is_some_and(|claim| due_ms.is_some_and(|due_ms| due_ms <= claim.due_before_ms));
        if plan.is_none() && self.settled.is_empty() && !(is_due && may_claim) {
            return None;
        }
        let settled = std::mem::take(&mut self.settled);
        let is_deferrable = self.is_deferrable && !is_due;
        // A deferrable plan makes nothing due.
        let claim = claim.filter(|_| may_claim && !is_deferrable);
        Some(QueueUpdate { now_ms: self.now_ms, settled, plan, claim, is_deferrable })
    }
}

impl StoreBatchResult {
    /// Takes over what the store has changed. Settlements and the plan are kept after an error: the attempts were made,
    /// and losing their results would make them again.
    fn apply(&mut self, outcome: QueueUpdateOutcome, update: QueueUpdate) {
        self.made_progress = update.plan.is_some() || !update.settled.is_empty();
        match ok_or_keep(outcome.refused, &mut self.error) {
            Some(refused_count) => self.refused_count = refused_count,
            None => self.unsettled = update.settled,
        }
        if let Some(plan) = update.plan {
            self.plan = Some(match ok_or_keep(outcome.planned, &mut self.error) {
                Some(Some(PlanOutcome::Planned)) => {
                    self.skipped_count = count_skipped(&plan);
                    StoredPlan::Stored(plan.token)
                }
                Some(_) => StoredPlan::Stale,
                None => StoredPlan::Failed(plan),
            });
        }
        self.claimed = ok_or_keep(outcome.claimed, &mut self.error).unwrap_or_default();
        self.made_progress |= !self.claimed.is_empty();
        self.next_due = NextDue::Known(outcome.next_due_ms);
        self.unfinished = outcome.unfinished;
        self.has_waiting = outcome.has_waiting;
    }

    /// Takes over that the update failed: what the store has is not known.
    fn fail(&mut self, error: StoreError, update: QueueUpdate) {
        self.error = Some(error);
        self.unsettled = update.settled;
        self.plan = update.plan.map(StoredPlan::Failed);
        self.next_due = NextDue::Unknown;
        self.unfinished = None;
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
