//! A queue of deliveries that cannot renew leases for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;

use crate::storage::{
    BodyRecheck, BreakerState, ClaimRequest, ClaimedDelivery, DeliveryQueue, HandlerId, HandlerRow, LeaseToken,
    PlanBatch, PlanOutcome, PlanToken, PlannedDelivery, Position, SettledDelivery, Store, StoreError,
};

/// Fails as many renewals as the counter says, and passes everything else to the store.
pub(super) struct FailingRenewals {
    store: Arc<dyn Store>,
    failures_left: Arc<AtomicU32>,
}

impl FailingRenewals {
    pub(super) fn new(store: Arc<dyn Store>, failures_left: Arc<AtomicU32>) -> Self {
        Self { store, failures_left }
    }
}

#[async_trait]
impl DeliveryQueue for FailingRenewals {
    async fn register_handler(&self, handler: HandlerRow) -> Result<HandlerId, StoreError> {
        self.store.register_handler(handler).await
    }

    async fn next_plan_batch(
        &self,
        handler: HandlerId,
        limit: usize,
        bodies: bool,
    ) -> Result<Option<PlanBatch>, StoreError> {
        self.store.next_plan_batch(handler, limit, bodies).await
    }

    async fn plan_deliveries(
        &self,
        handler: HandlerId,
        batch: PlanToken,
        planned: Vec<PlannedDelivery>,
        now_ms: i64,
    ) -> Result<PlanOutcome, StoreError> {
        self.store.plan_deliveries(handler, batch, planned, now_ms).await
    }

    async fn claim_deliveries(
        &self,
        handler: HandlerId,
        claim: ClaimRequest,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        self.store.claim_deliveries(handler, claim).await
    }

    async fn renew_leases(
        &self,
        handler: HandlerId,
        leases: Vec<LeaseToken>,
        lease_until_ms: i64,
    ) -> Result<Vec<LeaseToken>, StoreError> {
        let left = self.failures_left.load(Ordering::Relaxed);
        if left > 0 {
            self.failures_left.store(left - 1, Ordering::Relaxed);
            return Err(StoreError::unavailable("the disk is gone"));
        }
        self.store.renew_leases(handler, leases, lease_until_ms).await
    }

    async fn next_due_ms(&self, handler: HandlerId) -> Result<Option<i64>, StoreError> {
        self.store.next_due_ms(handler).await
    }

    async fn settle_deliveries(
        &self,
        handler: HandlerId,
        settled: Vec<SettledDelivery>,
        now_ms: i64,
    ) -> Result<usize, StoreError> {
        self.store.settle_deliveries(handler, settled, now_ms).await
    }

    async fn resume_readable(
        &self,
        handler: HandlerId,
        after: Position,
        now_ms: i64,
    ) -> Result<BodyRecheck, StoreError> {
        self.store.resume_readable(handler, after, now_ms).await
    }

    async fn correct_future_times(&self, handler: HandlerId, now_ms: i64) -> Result<u64, StoreError> {
        self.store.correct_future_times(handler, now_ms).await
    }

    async fn update_breaker_state(
        &self,
        handler: HandlerId,
        state: BreakerState,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.store.update_breaker_state(handler, state, now_ms).await
    }
}
