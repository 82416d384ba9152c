//! The webhook events of Retell AI as types.
//!
//! Promise of this module: a JSON object is always an event. Unknown events, unknown fields, nulls, and values of
//! an unexpected type are kept as raw text, and [`Event::to_json`] writes all of it back: equal JSON, numbers with
//! the digits they came with. Only what is no JSON object is refused ([`Unparsed`]). Two things are not kept: of
//! duplicate keys only the last counts, and a key that is no Unicode text is spelled out.
//!
//! Everything is pure: no clock, no I/O, no recursion over the depth of the input. `Debug` of every type shows ids
//! and names of fields, never what a caller said or which number they have.
//!
//! Heavy parts (transcripts, latency) are [`Deferred`]: copied as text and parsed when asked for. [`Head`] reads
//! nothing but name and ids, for the path where a body only has to be stored.

mod alert;
mod analysis;
mod call;
mod chat;
mod deferred;
mod describe;
mod error;
mod fields;
mod from_json;
mod head;
mod inbound;
mod json;
mod kind;
mod metrics;
mod number;
mod object;
mod open_enum;
mod open_object;
mod payload;
mod reason;
mod sample;
mod transcript;
mod typed;
mod utterance;

pub use alert::{Alert, Comparator, MetricType, ThresholdType};
pub use analysis::{CallAnalysis, ChatAnalysis, Sentiment};
pub use call::{Call, CallStatus, CallType, DataStorageSetting, Direction, TelephonyIdentifier};
pub use chat::{Chat, ChatStatus, ChatType};
pub use deferred::Deferred;
pub use describe::describe;
pub use error::{Unparsed, WrongShape};
pub use from_json::FromJson;
pub use head::Head;
pub use inbound::{InboundCall, InboundChat};
pub use json::Json;
pub use kind::EventKind;
pub use metrics::{CallCost, ChatCost, Latency, LatencyStats, ProductCost, TokenUsage};
pub use number::Number;
pub use object::Object;
pub use payload::{
    AlertEvent, CallEvent, ChatEvent, InboundCallEvent, InboundChatEvent, TranscriptUpdated, TransferEvent,
};
pub use reason::DisconnectionReason;
pub use sample::sample;
pub use transcript::{
    Dtmf, Injected, NodeTransition, Sms, StateTransition, ToolCallInvocation, ToolCallResult, TranscriptItem,
    TransitionType,
};
pub use typed::Event;
pub use utterance::{BackupModelUsed, BackupReason, Multimedia, Utterance, UtteranceMetadata, Word};
