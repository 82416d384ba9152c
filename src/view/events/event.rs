use serde::Serialize;
use serde_json::value::RawValue;

use super::OutlookView;
use crate::telemetry::inbound::InboundOutcome;
use crate::view::named_value::named_values;

named_values! {
    /// How an event came into the store.
    EventOriginView {
        Retell = "retell",
        /// Made by the receiver itself: alarms and appointments.
        Internal = "internal",
        Import = "import",
        /// Fetched from Retell afterwards.
        Backfill = "backfill",
    }
}

named_values! {
    /// Whether the name and the ids of an event are known.
    EventStateView {
        Stored = "stored",
        Unparsed = "unparsed",
    }
}

/// An event without its body.
#[derive(Debug, Serialize)]
pub(crate) struct EventView {
    pub id: String,
    /// The slug of the company.
    pub company: String,
    /// The event kind, such as `call_ended`; `None` when the body has none.
    pub event: Option<String>,
    pub call_id: Option<String>,
    pub agent_id: Option<String>,
    pub received_at_ms: i64,
    /// The IP address of the sender.
    pub source: Option<String>,
    pub content_type: Option<String>,
    pub query: Option<String>,
    pub key_fingerprint: Option<String>,
    pub origin: EventOriginView,
    pub state: EventStateView,
    /// The id of the event of which it is a revision.
    pub revision_of: Option<String>,
    /// How often the same body was received again.
    pub duplicates: u64,
    pub size_bytes: u64,
}

/// An event with the answer that its sender got and what handlers made of it.
#[derive(Debug, Serialize)]
pub(crate) struct EventDetailsView {
    #[serde(flatten)]
    pub event: EventView,
    /// Present for inbound calls only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbound_answer: Option<StoredInboundAnswerView>,
    /// Why the body cannot be read; absent when it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_error: Option<String>,
    pub deliveries: Vec<OutlookView>,
    /// Whether any handler wanted the event; `None` while a handler has not decided yet, or when its delivery was
    /// deleted.
    pub wanted: Option<bool>,
}

/// The answer to an inbound call.
#[derive(Debug, Serialize)]
pub(crate) struct StoredInboundAnswerView {
    /// The name of the rule that answered.
    pub rule: Option<String>,
    pub outcome: InboundOutcome,
    /// `null` when the stored text cannot be parsed as JSON.
    pub answer: Option<Box<RawValue>>,
    pub duration_ms: i64,
    pub answered_at_ms: i64,
}

/// An event as it is followed.
#[derive(Debug, Serialize)]
pub(crate) struct TailedEventView {
    #[serde(flatten)]
    pub event: EventView,
    /// The duration of the call, as far as the body has it.
    #[serde(skip)]
    pub duration_ms: Option<i64>,
    #[serde(skip)]
    pub disconnection_reason: Option<String>,
}

/// One line of an export: enough to verify the signature again and to import the event into another store.
#[derive(Serialize)]
pub(crate) struct ExportedEventView {
    pub id: String,
    /// The slug of the company.
    pub company: String,
    pub event: Option<String>,
    pub received_at_ms: i64,
    pub headers: ExportedHeadersView,
    pub body_base64: String,
}

/// The headers that were stored with the event.
#[derive(Serialize)]
pub(crate) struct ExportedHeadersView {
    #[serde(rename = "content-type", skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(rename = "x-retell-signature", skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}
