//! The envelopes of events: the object an event is about and what stands beside it. The `event` name itself is the
//! variant of [`Event`](super::Event).

use super::alert::Alert;
use super::call::Call;
use super::chat::Chat;
use super::inbound::{InboundCall, InboundChat};
use super::lazy_json::LazyJson;
use super::open_object::{json_key, open_object};
use super::raw_json::RawJson;
use super::transcript::TranscriptItem;

open_object! {
    /// `call_started`, `call_ended`, `call_analyzed`.
    pub struct CallEvent
    carries(
        /// The call, from `call` or, in old payloads, from `data`. Empty when neither is an object.
        call: Call = ["call", "data"]
    )
    {
        /// When the event was sent, ms since 1970. Rarely present.
        pub event_timestamp: i64,
    }
}

open_object! {
    /// `transfer_started`, `transfer_bridged`, `transfer_cancelled`, `transfer_ended`.
    pub struct TransferEvent
    carries(
        /// The call, from `call` or `data`. Empty when neither is an object.
        call: Call = ["call", "data"]
    )
    {
        /// Where to: an object of number and extension in the documentation's sample. Not promised on
        /// `transfer_ended`.
        pub transfer_destination: RawJson,
        /// How: an object with camelCase keys in the documentation's sample.
        pub transfer_option: RawJson,
        /// When the event was sent, ms since 1970. Rarely present.
        pub event_timestamp: i64,
    }
}

open_object! {
    /// `transcript_updated`, of a call or of a chat.
    pub struct TranscriptUpdated
    carries(
        /// The call, from `call` or `data`. Empty for chats.
        call: Call = ["call", "data"]
    )
    {
        /// The chat, for chat agents.
        pub chat: Chat,
        /// The transcript so far. The contract does not say whether it stands here or in the call;
        /// [`transcript`](Self::transcript) looks in both places.
        pub transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// When the event was sent, ms since 1970. Rarely present.
        pub event_timestamp: i64,
    }
}

impl TranscriptUpdated {
    /// The transcript so far: beside the call, else in the call, else the messages of the chat.
    #[must_use]
    pub fn transcript(&self) -> Option<&LazyJson<Vec<TranscriptItem>>> {
        let of_call = || self.call.transcript_with_tool_calls.as_ref();
        let of_chat = || self.chat.as_ref()?.message_with_tool_calls.as_ref();
        self.transcript_with_tool_calls.as_ref().or_else(of_call).or_else(of_chat)
    }
}

open_object! {
    /// `chat_started`, `chat_ended`, `chat_analyzed`.
    pub struct ChatEvent
    carries(
        /// The chat. Empty when `chat` is not an object.
        chat: Chat = ["chat"]
    )
    {
        /// When the event was sent, ms since 1970. Rarely present.
        pub event_timestamp: i64,
    }
}

open_object! {
    /// `call_inbound`.
    pub struct InboundCallEvent
    carries(
        /// The ringing call. Empty when `call_inbound` is not an object.
        call_inbound: InboundCall = ["call_inbound"]
    )
    {
        /// When the event was sent, ms since 1970.
        pub event_timestamp: i64,
    }
}

open_object! {
    /// `chat_inbound`.
    pub struct InboundChatEvent
    carries(
        /// The message's chat to be. Empty when `chat_inbound` is not an object.
        chat_inbound: InboundChat = ["chat_inbound"]
    )
    {
        /// When the event was sent, ms since 1970.
        pub event_timestamp: i64,
    }
}

open_object! {
    /// `alert_triggered`, `alert_resolved`.
    pub struct AlertEvent
    carries(
        /// The incident. Empty when `alert` is not an object.
        alert: Alert = ["alert"]
    )
    {
        /// When the event was sent, ms since 1970. Not in the documentation's sample.
        pub event_timestamp: i64,
    }
}
