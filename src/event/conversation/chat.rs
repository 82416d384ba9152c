//! The chat object of chat events: the object that `GET /get-chat` returns, of which each event holds a part.

use super::analysis::ChatAnalysis;
use super::metrics::ChatCost;
use crate::event::json::json_object::JsonObject;
use crate::event::json::lazy_json::LazyJson;
use crate::event::json::open_enum::open_enum;
use crate::event::json::open_object::{json_key, open_object};
use crate::event::json::raw_json::RawJson;
use crate::event::transcript::TranscriptItem;

open_object! {
    /// A chat through the API or by text message. Any field can be absent on any event.
    pub struct Chat debug(chat_id, agent_id, chat_status, chat_type) {
        /// Opaque id of the chat.
        pub chat_id: String,
        /// Id of the chat agent that answers.
        pub agent_id: String,
        /// Version of the chat agent; optional in the contract.
        pub version: i64,
        /// Tag that pointed to the agent version when the chat was created.
        pub agent_tag: String,
        /// State of the chat: ongoing, ended or failed.
        pub chat_status: ChatStatus,
        /// Whether the chat runs through the API or by text message.
        pub chat_type: ChatType,
        /// Start of the chat, in milliseconds since the Unix epoch.
        pub start_timestamp: i64,
        /// End of the chat, in milliseconds since the Unix epoch; present once it has ended.
        pub end_timestamp: i64,
        /// The conversation as lines of `Agent: …` and `User: …`.
        pub transcript: String,
        /// Any JSON that the creator of the chat attached; absent when none was given.
        pub metadata: RawJson,
        /// Dynamic variables given at creation. Strings by contract; [`JsonObject::get_text`] also reads other
        /// values.
        pub retell_llm_dynamic_variables: JsonObject,
        /// Dynamic variables collected during the chat; present once it has ended. Strings by contract.
        pub collected_dynamic_variables: JsonObject,
        /// Attributes that the account defined: strings, numbers or booleans.
        pub custom_attributes: JsonObject,
        /// Cost of the chat by product, in cents.
        pub chat_cost: ChatCost,
        /// Results of the analysis; present on `chat_analyzed`.
        pub chat_analysis: ChatAnalysis,
        /// Messages, tool calls and transitions in order.
        pub message_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// Tool calls that ran before the conversation began.
        pub pre_session_message_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// Tool calls before the conversation, without personal data.
        pub scrubbed_pre_session_message_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// Tool calls that ran after the conversation ended.
        pub post_session_message_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// Tool calls after the conversation, without personal data.
        pub scrubbed_post_session_message_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
    }
}

open_enum! {
    /// State of a chat, as Retell reports it.
    pub enum ChatStatus {
        /// The chat is still in progress.
        Ongoing = "ongoing",
        /// The chat has finished without an error.
        Ended = "ended",
        /// The chat failed because of an error.
        Error = "error",
    }
}

open_enum! {
    /// Whether a chat runs through the API or by text message.
    pub enum ChatType {
        /// A chat through Retell's API.
        Api = "api_chat",
        /// A chat by text message (SMS).
        Sms = "sms_chat",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_can_be_built_and_parsed_alone() {
        let chat = Chat { chat_id: Some("h".into()), ..Chat::default() };
        assert_eq!(serde_json::to_string(&chat).unwrap(), r#"{"chat_id":"h"}"#);
        let value = serde_json::json!({"chat_id": "h", "new": {"n": 1}});
        let chat: Chat = serde_json::from_value(value).unwrap();
        assert_eq!(chat.extra.get_text("new").as_deref(), Some(r#"{"n":1}"#));
    }
}
