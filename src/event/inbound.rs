//! What arrives before a call or chat exists: the request of a number's inbound webhook.

use super::json_object::JsonObject;
use super::open_object::{json_key, open_object};

open_object! {
    /// `call_inbound`: a call that is ringing.
    pub struct InboundCall shows(call_id, agent_id, agent_version) {
        /// The id the call will have. Newer senders only; the same for every retry of one call.
        pub call_id: String,
        /// The agent the number would use; absent when it has none.
        pub agent_id: String,
        /// Version of that agent.
        pub agent_version: i64,
        /// The calling number, or words such as "anonymous".
        pub from_number: String,
        /// The called number.
        pub to_number: String,
        /// X-* headers and User-to-User, Diversion, History-Info, P-Asserted-Identity, names in lower case.
        pub custom_sip_headers: JsonObject,
    }
}

open_object! {
    /// `chat_inbound`: a text message from somebody without a running chat.
    pub struct InboundChat shows(chat_id, agent_id, agent_version) {
        /// The id the chat will have. Newer senders only.
        pub chat_id: String,
        /// The agent the number would use; absent when it has none.
        pub agent_id: String,
        /// Version of that agent.
        pub agent_version: i64,
        /// The sender's number.
        pub from_number: String,
        /// The number written to.
        pub to_number: String,
    }
}
