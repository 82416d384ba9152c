//! Requests of a number's inbound webhook. They arrive before the call or chat exists.

use super::json::json_object::JsonObject;
use super::json::open_object::{json_key, open_object};

open_object! {
    /// `call_inbound`: a call that is still ringing. The HTTP response decides how it continues.
    pub struct InboundCall debug(call_id, agent_id, agent_version) {
        /// Id that the call will have, the same for every retry. Documented since September 2026; can be absent.
        pub call_id: String,
        /// Id of the agent assigned to the number; absent when there is none.
        pub agent_id: String,
        /// Version of the assigned agent; absent when there is none.
        pub agent_version: i64,
        /// The calling number, or a word such as "anonymous".
        pub from_number: String,
        /// The called number, usually E.164.
        pub to_number: String,
        /// SIP headers with lower-case names: all `x-*` headers, `user-to-user`, `diversion`, `history-info` and
        /// `p-asserted-identity`.
        pub custom_sip_headers: JsonObject,
    }
}

open_object! {
    /// `chat_inbound`: a text message from a sender without a chat in progress.
    pub struct InboundChat debug(chat_id, agent_id, agent_version) {
        /// Id that the chat will have, the same for every retry. Documented since September 2026; can be absent.
        pub chat_id: String,
        /// Id of the agent assigned to the number; absent when there is none.
        pub agent_id: String,
        /// Version of the assigned agent; absent when there is none.
        pub agent_version: i64,
        /// The number of the sender, usually E.164.
        pub from_number: String,
        /// The number that received the message.
        pub to_number: String,
    }
}
