//! The queue of deliveries as a worker uses it.

use async_trait::async_trait;
use bytes::Bytes;

use crate::storage::{
    BreakerState, ClaimRequest, ClaimedDelivery, EventSummary, HandlerId, HandlerRow, PlannedDelivery, SettledDelivery,
    StoreError,
};

/// Plans, claims and settles deliveries.
///
/// Each call is one step that either happens as a whole or not at all, so a worker can repeat it after any error.
#[async_trait]
pub trait DeliveryQueue: Send + Sync {
    /// Registers a handler and how its deliveries are ordered. A new handler gets the events that are stored from now
    /// on.
    async fn register_handler(&self, handler: HandlerRow) -> Result<HandlerId, StoreError>;

    /// Events for which no deliveries have been planned yet for this handler, oldest first, at most `limit`. With
    /// `bodies` the batch also ends at about 2 MiB of bodies; a body that cannot be read is `None`.
    async fn unplanned_events(
        &self,
        handler: HandlerId,
        limit: usize,
        bodies: bool,
    ) -> Result<Vec<(EventSummary, Option<Bytes>)>, StoreError>;

    /// Inserts deliveries and moves the handler's position in the journal to `through`, in one step: after a crash no
    /// event is planned twice and none is passed over.
    async fn plan_deliveries(
        &self,
        handler: HandlerId,
        planned: Vec<PlannedDelivery>,
        through: i64,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// Claims deliveries that are due until the end of the lease; of a call sequence only the first. Companies get
    /// equal shares. The cost does not depend on the number of waiting deliveries.
    async fn claim_deliveries(
        &self,
        handler: HandlerId,
        claim: ClaimRequest,
    ) -> Result<Vec<ClaimedDelivery>, StoreError>;

    /// When the next delivery of this handler is due, in milliseconds since the Unix epoch.
    async fn next_due_ms(&self, handler: HandlerId) -> Result<Option<i64>, StoreError>;

    /// Records attempts and their outcomes. A delivery that an operator has ended meanwhile stays ended.
    async fn settle_deliveries(
        &self,
        handler: HandlerId,
        settled: Vec<SettledDelivery>,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// Stores the state of a handler's circuit breaker, for `status` and the metrics.
    async fn update_breaker_state(
        &self,
        handler: HandlerId,
        state: BreakerState,
        now_ms: i64,
    ) -> Result<(), StoreError>;
}
