//! The chat object of chat events.

use super::analysis::ChatAnalysis;
use super::json_object::JsonObject;
use super::lazy_json::LazyJson;
use super::metrics::ChatCost;
use super::open_enum::open_enum;
use super::open_object::{json_key, open_object};
use super::raw_json::RawJson;
use super::transcript::TranscriptItem;

open_object! {
    /// A chat, by API or text message: the answer of `GET /get-chat`, of which each event carries a part.
    pub struct Chat shows(chat_id, agent_id, chat_status, chat_type) {
        /// Opaque id.
        pub chat_id: String,
        /// The agent that answers.
        pub agent_id: String,
        /// Version of the agent.
        pub version: i64,
        /// Tag that pointed at the agent version when the chat was made.
        pub agent_tag: String,
        /// Where the chat stands.
        pub chat_status: ChatStatus,
        /// API or text message.
        pub chat_type: ChatType,
        /// Start, ms since 1970.
        pub start_timestamp: i64,
        /// End, ms since 1970.
        pub end_timestamp: i64,
        /// The conversation as lines of "Agent: …" and "User: …".
        pub transcript: String,
        /// Whatever the creator of the chat attached.
        pub metadata: RawJson,
        /// Variables given at creation. Strings by contract; [`JsonObject::text`] copes with others.
        pub retell_llm_dynamic_variables: JsonObject,
        /// Variables gathered during the chat. Strings by contract.
        pub collected_dynamic_variables: JsonObject,
        /// Attributes of the account's own: strings, numbers, booleans.
        pub custom_attributes: JsonObject,
        /// Cost of the chat, cents.
        pub chat_cost: ChatCost,
        /// Only once the chat is analyzed.
        pub chat_analysis: ChatAnalysis,
        /// Messages, tools and transitions in order.
        pub message_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// Tools run before the conversation.
        pub pre_session_message_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// The same without personal data.
        pub scrubbed_pre_session_message_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// Tools run after the conversation.
        pub post_session_message_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// The same without personal data.
        pub scrubbed_post_session_message_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
    }
}

open_enum! {
    /// Where a chat stands.
    pub enum ChatStatus {
        /// Running.
        Ongoing = "ongoing",
        /// Over.
        Ended = "ended",
        /// Failed.
        Error = "error",
    }
}

open_enum! {
    /// How a chat is carried.
    pub enum ChatType {
        /// Through the API.
        Api = "api_chat",
        /// By text message.
        Sms = "sms_chat",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn can_be_built_and_read_by_itself() {
        let chat = Chat { chat_id: Some("h".into()), ..Chat::default() };
        assert_eq!(serde_json::to_string(&chat).unwrap(), r#"{"chat_id":"h"}"#);
        let value = serde_json::json!({"chat_id": "h", "new": {"n": 1}});
        let chat: Chat = serde_json::from_value(value).unwrap();
        assert_eq!(chat.extra.get_text("new").as_deref(), Some(r#"{"n":1}"#));
    }
}
