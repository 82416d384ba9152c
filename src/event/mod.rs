//! The webhook events of Retell AI as types.
//!
//! This module guarantees that every JSON object is an event. Unknown events, unknown fields, nulls and values of an
//! unexpected type are kept as raw text, and [`Event::to_json`] writes them back: equal JSON, numbers with their
//! original digits. Only a body that is not a JSON object is rejected ([`EventParseError`]). There are two
//! exceptions: of duplicate keys only the last one is kept, and an unpaired surrogate in a key or in a typed text, such
//! as half an emoji, is read as U+FFFD.
//!
//! All functions are pure: no clock, no I/O, no recursion over the depth of the input. `Debug` of every type shows
//! ids and field names, but never what a caller said or a phone number.
//!
//! Large parts (transcripts, latency) are [`LazyJson`]: copied as text and parsed on demand. [`EventIdentifiers`]
//! reads only the name and the ids, for the path where a body only has to be stored.

mod alert;
mod conversation;
mod describe;
mod error;
mod identifiers;
mod inbound;
mod json;
mod kind;
mod payload;
mod sample;
mod transcript;
mod typed_event;

pub use alert::{Alert, Comparator, MetricType, ThresholdType};
pub use conversation::analysis::{CallAnalysis, ChatAnalysis, Sentiment};
pub use conversation::call::{Call, CallStatus, CallType, DataStorageSetting, Direction, TelephonyIdentifier};
pub use conversation::chat::{Chat, ChatStatus, ChatType};
pub use conversation::disconnection_reason::DisconnectionReason;
pub use conversation::metrics::{CallCost, ChatCost, Latency, LatencyStats, ProductCost, TokenUsage};
pub use describe::describe;
pub use error::{EventParseError, UnexpectedJsonType};
pub use identifiers::EventIdentifiers;
pub use inbound::{InboundCall, InboundChat};
pub use json::from_json::FromJson;
pub use json::json_number::JsonNumber;
pub use json::json_object::JsonObject;
pub use json::lazy_json::LazyJson;
pub use json::raw_json::RawJson;
pub(crate) use json::valid_json::{parse_json, valid_json, valid_json_body};
pub use kind::EventKind;
pub(crate) use kind::{
    ALARM_RESOLVED, ALARM_TRIGGERED, APPOINTMENT_BOOKED, APPOINTMENT_CANCELLED, APPOINTMENT_CHANGED,
    INTERNAL_EVENT_NAMES,
};
pub use payload::{
    AlertEvent, CallEvent, ChatEvent, InboundCallEvent, InboundChatEvent, TranscriptUpdated, TransferEvent,
};
pub use sample::sample_body;
pub use transcript::utterance::{BackupModelUsed, BackupReason, Multimedia, Utterance, UtteranceMetadata, Word};
pub use transcript::{
    Dtmf, Injected, NodeTransition, Sms, StateTransition, ToolCallInvocation, ToolCallResult, TranscriptItem,
    TransitionType,
};
pub use typed_event::Event;
