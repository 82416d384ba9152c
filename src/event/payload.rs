//! The envelopes of events: the object that an event is about and the members next to it. The `event` name itself is
//! the variant of [`Event`](super::Event).

use super::alert::Alert;
use super::conversation::call::Call;
use super::conversation::chat::Chat;
use super::inbound::{InboundCall, InboundChat};
use super::json::lazy_json::LazyJson;
use super::json::open_object::{json_key, open_object};
use super::json::raw_json::RawJson;
use super::transcript::TranscriptItem;

open_object! {
    /// Payload of `call_started`, `call_ended` and `call_analyzed`.
    pub struct CallEvent
    envelope(
        /// The call, read from `call` or, in old payloads, from `data`. Empty when neither is an object.
        call: Call = ["call", "data"]
    )
    {
        /// When the event was sent, in milliseconds since the Unix epoch. Documented for `call_inbound` only.
        pub event_timestamp: i64,
    }
}

open_object! {
    /// Payload of `transfer_started`, `transfer_bridged`, `transfer_cancelled` and `transfer_ended`.
    pub struct TransferEvent
    envelope(
        /// The call, read from `call` or `data`. Empty when neither is an object.
        call: Call = ["call", "data"]
    )
    {
        /// Destination of the transfer: in the documentation's sample an object with `number` and `extension`. Not
        /// documented for `transfer_ended`.
        pub transfer_destination: RawJson,
        /// Options of the transfer: in the documentation's sample an object with camelCase keys.
        pub transfer_option: RawJson,
        /// When the event was sent, in milliseconds since the Unix epoch. Documented for `call_inbound` only.
        pub event_timestamp: i64,
    }
}

open_object! {
    /// Payload of `transcript_updated`, for a call or a chat.
    pub struct TranscriptUpdated
    envelope(
        /// The call, read from `call` or `data`. Empty for chats.
        call: Call = ["call", "data"]
    )
    {
        /// The chat; set for chat agents only.
        pub chat: Chat,
        /// The transcript so far. The documentation does not say whether it is sent here or inside the call;
        /// [`transcript`](Self::transcript) looks in both places.
        pub transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// When the event was sent, in milliseconds since the Unix epoch. Documented for `call_inbound` only.
        pub event_timestamp: i64,
    }
}

impl TranscriptUpdated {
    /// The transcript so far: the one next to the call, else the one inside the call, else the messages of the chat.
    #[must_use]
    pub fn transcript(&self) -> Option<&LazyJson<Vec<TranscriptItem>>> {
        let in_call = || self.call.transcript_with_tool_calls.as_ref();
        let in_chat = || self.chat.as_ref()?.message_with_tool_calls.as_ref();
        self.transcript_with_tool_calls.as_ref().or_else(in_call).or_else(in_chat)
    }
}

open_object! {
    /// Payload of `chat_started`, `chat_ended` and `chat_analyzed`.
    pub struct ChatEvent
    envelope(
        /// The chat that the event is about. Empty when `chat` is not an object.
        chat: Chat = ["chat"]
    )
    {
        /// When the event was sent, in milliseconds since the Unix epoch. Documented for `call_inbound` only.
        pub event_timestamp: i64,
    }
}

open_object! {
    /// Payload of `call_inbound`, the request of a number's inbound webhook.
    pub struct InboundCallEvent
    envelope(
        /// The ringing call. Empty when `call_inbound` is not an object.
        call_inbound: InboundCall = ["call_inbound"]
    )
    {
        /// When the event was sent, in milliseconds since the Unix epoch.
        pub event_timestamp: i64,
    }
}

open_object! {
    /// Payload of `chat_inbound`, the request of a number's inbound SMS webhook.
    pub struct InboundChatEvent
    envelope(
        /// The chat that the message would begin. Empty when `chat_inbound` is not an object.
        chat_inbound: InboundChat = ["chat_inbound"]
    )
    {
        /// When the event was sent, in milliseconds since the Unix epoch. Not in the documentation's sample.
        pub event_timestamp: i64,
    }
}

open_object! {
    /// Payload of `alert_triggered` and `alert_resolved`.
    pub struct AlertEvent
    envelope(
        /// The incident of the alert rule. Empty when `alert` is not an object.
        alert: Alert = ["alert"]
    )
    {
        /// When the event was sent, in milliseconds since the Unix epoch. Not in the documentation's sample.
        pub event_timestamp: i64,
    }
}
