//! Deliveries, and the result of changing many of them.

use serde::Serialize;

use crate::view::named_value::named_values;

named_values! {
    /// The state of a delivery.
    DeliveryStateView {
        /// Waits for its first attempt.
        Pending = "pending",
        Running = "running",
        /// Waits for another attempt.
        Scheduled = "scheduled",
        Succeeded = "succeeded",
        Dead = "dead",
        /// Ended without success and without further attempts.
        Skipped = "skipped",
    }
}

/// Why an event has no delivery to a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UndeliveredStateView {
    /// The filter of the handler excludes the event.
    Filtered,
    /// The handler was added after the event was stored.
    BeforeHandler,
    /// The handler has not reached the event yet.
    Unplanned,
    /// The event was filtered, or its delivery was removed by retention.
    Removed,
}

named_values! {
    /// What a handler returned for an attempt.
    AttemptOutcomeView {
        Done = "done",
        /// The attempt failed in a way that may pass.
        Retry = "retry",
        /// The attempt failed and would fail again.
        Fail = "fail",
    }
}

/// The delivery of an event to one handler.
#[derive(Debug, Serialize)]
pub(crate) struct DeliveryView {
    pub event_id: String,
    /// The kind of the event.
    pub event: Option<String>,
    pub call_id: Option<String>,
    pub handler: String,
    pub state: DeliveryStateView,
    /// Attempts since the delivery was made, retried or replayed.
    pub attempts: u32,
    /// `None` when no attempt is to come, or while the delivery waits for an earlier event of its call.
    pub next_attempt_at_ms: Option<i64>,
    /// When the delivery was made, retried or replayed last.
    pub queued_at_ms: i64,
    pub updated_at_ms: i64,
    /// Why the delivery was skipped, or the error of its last attempt.
    pub reason: Option<String>,
    /// Whether an operator replayed the event.
    pub replay: bool,
}

/// The outcome of an event at one handler.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum OutlookView {
    Delivery(Box<DeliveryDetailsView>),
    /// The event has no delivery to this handler.
    Undelivered {
        handler: String,
        state: UndeliveredStateView,
    },
}

/// A delivery with its recorded attempts, oldest first.
#[derive(Debug, Serialize)]
pub(crate) struct DeliveryDetailsView {
    #[serde(flatten)]
    pub delivery: DeliveryView,
    pub attempt_records: Vec<AttemptView>,
}

#[derive(Debug, Serialize)]
pub(crate) struct AttemptView {
    /// Counted from 1.
    pub attempt: u32,
    pub started_at_ms: i64,
    pub duration_ms: i64,
    pub outcome: AttemptOutcomeView,
    /// The status code of an HTTP response, or the exit code of a program.
    pub status: Option<i32>,
    /// The cause of the failure, without personal data.
    pub error: Option<String>,
    /// The beginning of the response, with personal data redacted.
    pub answer: Option<String>,
}

/// The deliveries that a bulk change selected and changed.
#[derive(Debug, Serialize)]
pub(crate) struct BulkChangeView {
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    pub selected: u64,
    pub changed: u64,
    pub counts: Vec<DeliveryCountView>,
}

/// Number of deliveries of one handler with the same state and reason.
#[derive(Debug, Serialize)]
pub(crate) struct DeliveryCountView {
    pub handler: String,
    /// `None` for events without a delivery.
    pub state: Option<DeliveryStateView>,
    /// Why the deliveries were skipped.
    pub reason: Option<String>,
    pub count: u64,
    /// Why they are not selected; `None` when they are.
    pub excluded_reason: Option<&'static str>,
}
