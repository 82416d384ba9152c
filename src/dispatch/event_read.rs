//! Reads the next events of the journal for a handler, and decides which deliveries they become.

use std::sync::Arc;

use bytes::Bytes;

use super::delivery_log;
use super::plan;
use crate::handlers::RegisteredHandler;
use crate::storage::{DeliveryPlan, DeliveryQueue, HandlerId, PlanBatch, PlanToken, StoreError};

/// Bytes of bodies above which a batch of events may have ended for its size.
const MIN_BYTES_OF_FULL_BATCH: usize = 1024 * 1024;

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

pub(super) struct EventRead {
    pub(super) queue: Arc<dyn DeliveryQueue>,
    pub(super) registered: Arc<RegisteredHandler>,
    pub(super) handler_id: HandlerId,
    pub(super) position: PlanPosition,
    /// Number of events read at one time.
    pub(super) limit: usize,
}

/// The events that were read, and the deliveries that they become.
pub(super) struct ReadEvents {
    /// `None` when there is nothing to store.
    pub(super) plan: Option<ReadPlan>,
    pub(super) counts: PlannedCounts,
    /// The position after the events.
    pub(super) token: Option<PlanToken>,
}

pub(super) struct ReadPlan {
    pub(super) plan: DeliveryPlan,
    /// `None` for a plan that only stores the position.
    pub(super) batch: Option<PlanBatch>,
}

/// How many events were read, and how many deliveries they become.
#[derive(Clone, Copy, Default)]
pub(super) struct PlannedCounts {
    pub(super) events: usize,
    pub(super) deliveries: usize,
    /// Whether the journal may have further events.
    pub(super) may_have_more: bool,
}

impl EventRead {
    /// An event that the filter leaves out becomes no delivery, but the position moves past it.
    pub(super) async fn run(self) -> Result<ReadEvents, StoreError> {
        let PlanPosition { token, reads_bodies, is_store_due } = self.position;
        let bodies = reads_bodies || self.registered.filter.needs_body();
        let batch = self.queue.plan_batch_after(self.handler_id, token, self.limit, bodies).await?;
        let Some(batch) = batch else {
            // After the last of the events, their position is stored.
            let unstored = token.filter(|token| !token.is_stored());
            let plan = unstored.map(|token| ReadPlan { plan: empty_plan(token), batch: None });
            return Ok(ReadEvents { plan, counts: PlannedCounts::default(), token });
        };
        let mut deliveries = Vec::new();
        for (event, body) in &*batch.events {
            let planned = plan::plan_delivery(&self.registered, event, body.as_ref());
            delivery_log::log_routing(&self.registered.name, event, planned.as_ref());
            deliveries.extend(planned);
        }
        // With bodies, a batch can end before the limit of rows.
        let body_bytes: usize = batch.events.iter().filter_map(|(_, body)| body.as_ref()).map(Bytes::len).sum();
        let may_have_more = batch.events.len() == self.limit || body_bytes >= MIN_BYTES_OF_FULL_BATCH;
        let counts = PlannedCounts { events: batch.events.len(), deliveries: deliveries.len(), may_have_more };
        let token = batch.token;
        let is_stored = !deliveries.is_empty() || is_store_due;
        let plan = DeliveryPlan { deliveries, events: batch.events.clone(), ..empty_plan(token) };
        let plan = is_stored.then_some(ReadPlan { plan, batch: Some(batch) });
        Ok(ReadEvents { plan, counts, token: Some(token) })
    }
}

fn empty_plan(token: PlanToken) -> DeliveryPlan {
    DeliveryPlan { token, deliveries: Vec::new(), events: [].into(), lease_until_ms: 0 }
}
