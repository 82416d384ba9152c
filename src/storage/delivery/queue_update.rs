//! What a worker changes in the queue of its handler at one time.

use std::sync::Arc;

use bytes::Bytes;

use super::{ClaimRequest, ClaimedDelivery, PlanOutcome, PlanToken, PlannedDelivery, SettledDelivery};
use crate::storage::{EventSummary, StoreError};

/// Events with their bodies; `None` for a body that was not asked for or cannot be read. Handlers that plan the same
/// events share them.
pub(crate) type PlanEvents = Arc<[(EventSummary, Option<Bytes>)]>;

/// The deliveries that the events of a batch become.
#[derive(Clone, Debug)]
pub struct DeliveryPlan {
    pub token: PlanToken,
    /// In the order of the journal.
    pub deliveries: Vec<PlannedDelivery>,
    /// The events of the batch as they were read, which saves reading them again; may be empty.
    pub events: PlanEvents,
    /// End of the leases of deliveries whose first attempt has begun.
    pub lease_until_ms: i64,
}

/// Settles, plans and claims in one transaction. What settling and planning make due can be claimed at once.
#[derive(Clone, Debug, Default)]
pub struct QueueUpdate {
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
    pub settled: Vec<SettledDelivery>,
    pub plan: Option<DeliveryPlan>,
    pub claim: Option<ClaimRequest>,
    /// Whether no attempt waits for the update, so that it may be put off a little to share the write of an event.
    pub is_deferrable: bool,
}

/// The outcome of a [`QueueUpdate`], whose parts fail independently.
#[derive(Debug)]
pub struct QueueUpdateOutcome {
    /// Number of settlements that were refused because their leases were lost.
    pub refused: Result<usize, StoreError>,
    /// `None` when the update had no events to plan.
    pub planned: Result<Option<PlanOutcome>, StoreError>,
    /// In the order in which they are to be attempted.
    pub claimed: Result<Vec<ClaimedDelivery>, StoreError>,
    /// When the next delivery is due, after the update.
    pub next_due_ms: Option<i64>,
    /// Number of deliveries that have not ended, after the update; `None` when they are too many to count.
    pub unfinished: Option<usize>,
    /// Whether a planned delivery waits for an earlier one of its call.
    pub has_waiting: bool,
}
