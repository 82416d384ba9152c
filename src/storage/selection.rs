//! What an operator asks about deliveries, and what he has done to them.

use serde::Serialize;

use super::{AttemptRecord, DeliveryState, HandlerId, SkipReason};
use crate::base::id::EventId;

/// Which deliveries: everything that is given has to fit.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only those of these events, for the handler named with each.
    pub event_handler_pairs: Vec<(EventId, Option<String>)>,
    /// Only those for this handler.
    pub handler: Option<String>,
    /// Only those of events of this name.
    pub event_kind: Option<String>,
    /// Only those of events of this call or chat.
    pub call_id: Option<String>,
    /// Only those of events of the company with this slug.
    pub company: Option<String>,
    /// Only those of events received since then, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// Only those of events received before then.
    pub until_ms: Option<i64>,
    /// Only those in one of these states.
    pub states: Option<Vec<DeliveryState>>,
    /// Only those with this note: why they are skipped, or what went wrong.
    pub reason: Option<String>,
    /// Also events that became no delivery, see [`DeliveryOutlook::Filtered`] and [`DeliveryOutlook::Before`].
    pub include_undelivered: bool,
}

/// A delivery as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// The event.
    pub event_id: EventId,
    /// Its name.
    pub event_kind: Option<String>,
    /// Its call or chat.
    pub call_id: Option<String>,
    /// The handler's name.
    pub handler: String,
    /// Where the delivery stands.
    pub state: DeliveryState,
    /// Attempts since it was made, retried or replayed.
    pub attempts: u32,
    /// When the next attempt may be made, or the lease of the one under way ends. `None` when there is none to come, or
    /// while it waits for an earlier event of its call.
    pub due_ms: Option<i64>,
    /// When it was made, retried or replayed last.
    pub queued_at_ms: i64,
    /// When it changed last.
    pub updated_ms: i64,
    /// Why it was skipped, or what went wrong last.
    pub reason: Option<String>,
    /// Somebody asked for it to be delivered once more.
    pub is_replay: bool,
}

/// What became of an event for one handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutlook {
    /// A delivery, with every attempt that is on record, oldest first.
    Delivery(DeliveryRow, Vec<AttemptRecord>),
    /// The handler did not want it.
    Filtered,
    /// The handler was made known later.
    BeforeHandler,
    /// The handler has not looked at it yet.
    Unplanned,
    /// The handler did not want it, or its delivery was removed for its age.
    Removed,
}

impl DeliveryOutlook {
    /// The delivery's state, or a word for what is none.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Delivery(row, _) => row.state.as_str(),
            Self::Filtered => "filtered",
            Self::BeforeHandler => "before_handler",
            Self::Unplanned => "not_looked_at",
            Self::Removed => "removed",
        }
    }
}

/// Deliveries of one handler that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DeliveryCount {
    /// The handler's name.
    pub handler: String,
    /// Their state; `None` for events without a delivery.
    pub state: Option<DeliveryState>,
    /// Why they were skipped.
    pub reason: Option<String>,
    /// How many.
    pub count: u64,
}

/// What is to be done with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryChange {
    /// Delivered once more, from the first attempt on, marked as a replay. An event without a delivery becomes one.
    Replay,
    /// Attempted now, and by the whole schedule again if that fails.
    Retry,
    /// Ended before its next attempt.
    Cancel,
    /// A dead letter nobody needs any more.
    Discard,
}

impl DeliveryChange {
    /// The states in which a delivery can be changed so.
    #[must_use]
    pub(crate) fn allowed_states(self) -> &'static [DeliveryState] {
        use DeliveryState::{Dead, Pending, Scheduled, Skipped, Succeeded};
        match self {
            Self::Replay => &[Scheduled, Succeeded, Dead, Skipped],
            Self::Retry => &[Scheduled, Dead, Skipped],
            Self::Cancel => &[Pending, Scheduled],
            Self::Discard => &[Dead],
        }
    }

    /// What such a delivery notes as its reason.
    #[must_use]
    pub(crate) fn skip_reason(self) -> Option<&'static str> {
        match self {
            Self::Replay | Self::Retry => None,
            Self::Cancel => Some(SkipReason::Cancelled.as_str()),
            Self::Discard => Some(SkipReason::Discarded.as_str()),
        }
    }
}

/// A few events for one handler, in the order of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryBatch {
    /// The handler.
    pub handler_id: HandlerId,
    /// The events' positions.
    pub seqs: Vec<i64>,
}
