//! A queue of deliveries that fails for a while, and keeps the plans that it was asked to store.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::storage::{
    BodyRecheck, BreakerState, DeliveryQueue, HandlerId, HandlerRow, LeaseToken, PlanBatch, PlanToken, PlannedDelivery,
    Position, QueueUpdate, QueueUpdateOutcome, Store, StoreError,
};

/// Fails as many calls as the counters say, and passes everything else to the store.
pub(super) struct FaultyQueue {
    store: Arc<dyn Store>,
    faults: Arc<QueueFaults>,
}

#[derive(Default)]
pub(super) struct QueueFaults {
    pub(super) renewals: AtomicU32,
    pub(super) updates: AtomicU32,
    /// The deliveries of each plan, also of those that failed.
    pub(super) plans: Mutex<Vec<Vec<PlannedDelivery>>>,
}

impl FaultyQueue {
    pub(super) fn new(store: Arc<dyn Store>, faults: Arc<QueueFaults>) -> Self {
        Self { store, faults }
    }
}

/// Counts a failure, if one is left.
fn fail(failures_left: &AtomicU32) -> Result<(), StoreError> {
    let take = |left: u32| left.checked_sub(1);
    match failures_left.try_update(Ordering::Relaxed, Ordering::Relaxed, take) {
        Ok(_) => Err(StoreError::unavailable("the disk is gone")),
        Err(_) => Ok(()),
    }
}

#[async_trait]
impl DeliveryQueue for FaultyQueue {
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
        if let Some(plan) = &update.plan {
            self.faults.plans.lock().unwrap().push(plan.deliveries.clone());
        }
        fail(&self.faults.updates)?;
        self.store.update_queue(handler, update).await
    }

    async fn renew_leases(
        &self,
        handler: HandlerId,
        leases: Vec<LeaseToken>,
        lease_until_ms: i64,
    ) -> Result<Vec<LeaseToken>, StoreError> {
        fail(&self.faults.renewals)?;
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
