//! Deliveries as an operator selects, lists and changes them.

use serde::Serialize;

use super::{AttemptRecord, DeliveryState, HandlerId, SkipReason};
use crate::base::id::EventId;
use crate::storage::{Position, Seq};

/// Selects deliveries; all set conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Events, each for one handler or for all; empty for no restriction.
    pub event_handler_pairs: Vec<(EventId, Option<String>)>,
    pub handler: Option<String>,
    /// Kinds of events; empty for all.
    pub event_kinds: Vec<String>,
    /// Id of a call or chat.
    pub call_id: Option<String>,
    /// The slug of the company.
    pub company: Option<String>,
    /// The event was received at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// The event was received before this time.
    pub until_ms: Option<i64>,
    pub states: Option<Vec<DeliveryState>>,
    /// The same text as in [`DeliveryRow::reason`].
    pub reason: Option<String>,
    /// Includes events without a delivery, see [`DeliveryOutlook::Filtered`] and [`DeliveryOutlook::BeforeHandler`].
    pub include_undelivered: bool,
}

/// A delivery as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    pub event_id: EventId,
    pub event_kind: Option<String>,
    /// Id of the call or chat.
    pub call_id: Option<String>,
    pub handler: String,
    pub state: DeliveryState,
    /// Attempts since the delivery was made, retried or replayed.
    pub attempts: u32,
    /// When the next attempt is due, or when the lease of the current one ends. `None` when no attempt is to come, or
    /// while the delivery waits for an earlier event of its call.
    pub due_ms: Option<i64>,
    /// When the delivery was made, retried or replayed last.
    pub queued_at_ms: i64,
    pub updated_ms: i64,
    /// Why the delivery was skipped, or the error of its last attempt.
    pub reason: Option<String>,
    /// Whether an operator replayed the event.
    pub is_replay: bool,
}

/// A part of a list of deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryPage {
    pub rows: Vec<DeliveryRow>,
    /// Where to continue; `None` at the end of the list.
    pub next_before: Option<Position>,
}

/// The delivery of an event to one handler, or the reason why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutlook {
    /// The delivery with its recorded attempts, oldest first.
    Delivery(DeliveryRow, Vec<AttemptRecord>),
    /// The filter of the handler excludes the event.
    Filtered,
    /// The handler was registered after the event was stored.
    BeforeHandler,
    /// The handler has not reached the event in the journal yet.
    Unplanned,
    /// The filter of the handler excluded the event, or the delivery was removed by retention; the store cannot tell
    /// which.
    Removed,
}

impl DeliveryOutlook {
    /// The state of the delivery, or the name of the variant, as in `--json`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Delivery(row, _) => row.state.as_str(),
            Self::Filtered => "filtered",
            Self::BeforeHandler => "before_handler",
            Self::Unplanned => "unplanned",
            Self::Removed => "removed",
        }
    }
}

/// Number of deliveries of one handler with the same state and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveryCount {
    pub handler: String,
    /// `None` for events without a delivery.
    pub state: Option<DeliveryState>,
    /// Why the deliveries were skipped.
    pub reason: Option<String>,
    pub count: u64,
}

/// A change that an operator makes to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryChange {
    /// Deliver the event again, starting with the first attempt, marked as a replay. Makes a delivery if there is
    /// none.
    Replay,
    /// Make an attempt now; if it fails, the retry schedule starts again.
    Retry,
    /// End the delivery before its next attempt.
    Cancel,
    /// Mark a dead letter as not needed any more.
    Discard,
}

impl DeliveryChange {
    /// The states in which a delivery can be changed in this way.
    #[must_use]
    pub(crate) fn allowed_states(self) -> &'static [DeliveryState] {
        // Never `Running`: its attempt is in progress and will be settled.
        use DeliveryState::{Dead, Pending, Scheduled, Skipped, Succeeded};
        match self {
            Self::Replay => &[Scheduled, Succeeded, Dead, Skipped],
            Self::Retry => &[Scheduled, Dead, Skipped],
            Self::Cancel => &[Pending, Scheduled],
            Self::Discard => &[Dead],
        }
    }

    /// The reason of a delivery that is skipped by this change; `None` if it is attempted again.
    #[must_use]
    pub(crate) fn skip_reason(self) -> Option<&'static str> {
        match self {
            Self::Replay | Self::Retry => None,
            Self::Cancel => Some(SkipReason::Cancelled.as_str()),
            Self::Discard => Some(SkipReason::Discarded.as_str()),
        }
    }
}

/// A batch of events for one handler, in the order of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryBatch {
    pub handler_id: HandlerId,
    /// The sequence numbers of the events.
    pub seqs: Vec<Seq>,
}
