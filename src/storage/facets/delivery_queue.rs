//! The queue of deliveries as a worker uses it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::storage::{
    BodyRecheck, BreakerState, ClaimRequest, ClaimedDelivery, DeliveryPlan, HandlerId, HandlerRow, LeaseToken,
    PlanBatch, PlanOutcome, PlanToken, PlannedDelivery, Position, QueueUpdate, QueueUpdateOutcome, SettledDelivery,
    StoreError,
};

/// Plans, claims and settles deliveries.
///
/// Planning and settling are one step each: they happen as a whole or not at all. A worker can repeat any call after an
/// error; what a failed claim or renewal may leave behind is stated there.
///
/// Any number of workers may use the queue of one handler: an event is planned once, and a delivery belongs to the worker
/// that claimed it last. Leases are compared with the time that each worker gives, so the clocks of receivers may differ by
/// a few seconds at most; with a larger difference a delivery may be attempted by two of them at a time. Only the only
/// receiver of a store may plan deliveries that it has attempted already ([`PlannedProgress`](crate::storage::PlannedProgress)).
#[async_trait]
pub trait DeliveryQueue: Send + Sync {
    /// Registers a handler and how its deliveries are ordered. A new handler gets the events that are stored from now
    /// on. For a known one the stored state of its circuit breaker is reset.
    async fn register_handler(&self, handler: HandlerRow) -> Result<HandlerId, StoreError>;

    /// The next events for which no deliveries have been planned yet for this handler, at most `limit`; `None` when
    /// there are none. `after` is the token of the previous batch, when that became no delivery and was not stored. With
    /// `bodies` the batch also ends at about 2 MiB of bodies; a body that cannot be read is `None`. An event with a value
    /// that this version does not know is part of the batch.
    async fn plan_batch_after(
        &self,
        handler: HandlerId,
        after: Option<PlanToken>,
        limit: usize,
        bodies: bool,
    ) -> Result<Option<PlanBatch>, StoreError>;

    /// [`plan_batch_after`](DeliveryQueue::plan_batch_after) the stored position of the handler.
    async fn next_plan_batch(
        &self,
        handler: HandlerId,
        limit: usize,
        bodies: bool,
    ) -> Result<Option<PlanBatch>, StoreError> {
        self.plan_batch_after(handler, None, limit, bodies).await
    }

    /// Settles, claims and plans, each as a whole or not at all, and all as one step for a crash.
    ///
    /// A plan inserts the deliveries that the events of its batch become, and moves the handler's position past the batch:
    /// after a crash no event is planned twice and none is passed over. Of two batches with the same events, the second
    /// one plans nothing. A planned delivery that may be attempted at once is claimed while the claim has room.
    ///
    /// # Errors
    /// The update failed as a whole. Deliveries may have been claimed all the same, as after an error of the claim; they
    /// can be claimed again when their leases have ended.
    async fn update_queue(
        &self,
        handler: HandlerId,
        update: Arc<QueueUpdate>,
    ) -> Result<QueueUpdateOutcome, StoreError>;

    /// An update that only plans.
    async fn plan_deliveries(
        &self,
        handler: HandlerId,
        token: PlanToken,
        deliveries: Vec<PlannedDelivery>,
        now_ms: i64,
    ) -> Result<PlanOutcome, StoreError> {
        let plan = DeliveryPlan { token, deliveries, events: [].into(), lease_until_ms: 0 };
        let update = QueueUpdate { now_ms, plan: Some(plan), ..QueueUpdate::default() };
        Ok(self.update_queue(handler, Arc::new(update)).await?.planned?.unwrap_or(PlanOutcome::Stale))
    }

    /// An update that only claims deliveries that are due until the end of the lease; of a call sequence only the first.
    /// Companies get equal shares. The cost does not depend on the number of waiting deliveries. An event with a value
    /// that this version does not know has the reason in place of its body.
    async fn claim_deliveries(
        &self,
        handler: HandlerId,
        claim: ClaimRequest,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let update = QueueUpdate { now_ms: claim.now_ms, claim: Some(claim), ..QueueUpdate::default() };
        self.update_queue(handler, Arc::new(update)).await?.claimed
    }

    /// Moves the end of these leases, and returns the leases that are no longer held: their deliveries were claimed
    /// again or ended by an operator. A lease that has ended is renewed as well, unless its delivery was claimed again.
    /// After an error some of them may have been renewed.
    async fn renew_leases(
        &self,
        handler: HandlerId,
        leases: Vec<LeaseToken>,
        lease_until_ms: i64,
    ) -> Result<Vec<LeaseToken>, StoreError>;

    /// When the next delivery of this handler is due, in milliseconds since the Unix epoch.
    async fn next_due_ms(&self, handler: HandlerId) -> Result<Option<i64>, StoreError>;

    /// An update that only records attempts and their outcomes. Returns the number of refused settlements: those whose
    /// lease is no longer held, because the delivery was claimed again, settled before, or ended by an operator. A refused
    /// settlement does not change the delivery; its attempt is recorded all the same, unless the event was erased or the
    /// delivery no longer exists.
    async fn settle_deliveries(
        &self,
        handler: HandlerId,
        settled: Vec<SettledDelivery>,
        now_ms: i64,
    ) -> Result<usize, StoreError> {
        let update = QueueUpdate { now_ms, settled, ..QueueUpdate::default() };
        self.update_queue(handler, Arc::new(update)).await?.refused
    }

    /// Looks again at the bodies of dead deliveries that could not be read, a bounded number of them after `after`. Those
    /// whose bodies can be read now are attempted again, as after a retry by an operator: they come first in their call
    /// sequences, and their age counts from now.
    async fn resume_readable(
        &self,
        handler: HandlerId,
        after: Position,
        now_ms: i64,
    ) -> Result<BodyRecheck, StoreError>;

    /// Corrects the times of deliveries that were written while the clock was ahead of `now_ms`, and returns their number.
    /// Each keeps the wait that it had: a retry in 30 s is due 30 s from now, also when the clock was a day ahead. Does
    /// nothing when no time lies in the future for this reason.
    async fn correct_future_times(&self, handler: HandlerId, now_ms: i64) -> Result<u64, StoreError>;

    /// Stores the state of a handler's circuit breaker, for `status` and the metrics.
    async fn update_breaker_state(
        &self,
        handler: HandlerId,
        state: BreakerState,
        now_ms: i64,
    ) -> Result<(), StoreError>;
}
