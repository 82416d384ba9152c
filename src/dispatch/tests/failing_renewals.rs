//! A queue of deliveries that cannot renew leases for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;

use crate::storage::{
    BodyRecheck, BreakerState, DeliveryQueue, HandlerId, HandlerRow, LeaseToken, PlanBatch, PlanToken, Position,
    QueueUpdate, QueueUpdateOutcome, Store, StoreError,
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

    async fn plan_batch_after(
        &self,
        handler: HandlerId,
        after: Option<PlanToken>,
        limit: usize,
        bodies: bool,
    ) -> Result<Option<PlanBatch>, StoreError> {
        self.store.plan_batch_after(handler, after, limit, bodies).await
    }

    async fn update_queue(
        &self,
        handler: HandlerId,
        update: Arc<QueueUpdate>,
    ) -> Result<QueueUpdateOutcome, StoreError> {
        self.store.update_queue(handler, update).await
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
