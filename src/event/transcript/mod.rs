//! The items of transcripts and of chat message lists. The `role` of an item is its type.

pub(super) mod utterance;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use self::utterance::{Multimedia, Utterance, UtteranceMetadata};
use crate::event::json::from_json::{self, FromJson};
use crate::event::json::json_number::JsonNumber;
use crate::event::json::open_enum::open_enum;
use crate::event::json::open_object::{OpenObject, json_key, open_object};
use crate::event::json::raw_fields::RawFields;
use crate::event::json::raw_json::RawJson;

/// Generates the enum of items and all matches on the role from one table.
macro_rules! transcript_items {
    ($($(#[$meta:meta])* $variant:ident($item:ident) = $role:literal,)*) => {
        /// One item of a transcript (voice) or message list (chat). Both share most roles, so they share one type.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum TranscriptItem {
            $($(#[$meta])* $variant($item),)*
            /// An item whose role is unknown or missing. The other items of the list are still parsed.
            Unknown(RawJson),
        }

        impl TranscriptItem {
            /// The `role` as it is written in JSON; empty for [`Unknown`](Self::Unknown).
            #[must_use]
            pub fn role(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $role,)*
                    Self::Unknown(_) => "",
                }
            }

            fn from_role(role: &str, fields: RawFields<'_>) -> Option<Self> {
                match role {
                    $($role => Some(Self::$variant($item::from_fields(fields))),)*
                    _ => None,
                }
            }

            fn write_fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                match self {
                    $(Self::$variant(item) => item.write_fields(map),)*
                    Self::Unknown(_) => Ok(()),
                }
            }
        }
    };
}

transcript_items! {
    /// The agent said or wrote something.
    Agent(Utterance) = "agent",
    /// The user said or wrote something.
    User(Utterance) = "user",
    /// The party that the call was transferred to said something. Calls only.
    TransferTarget(Utterance) = "transfer_target",
    /// The agent called a tool, such as a custom function.
    ToolCallInvocation(ToolCallInvocation) = "tool_call_invocation",
    /// A tool returned its result.
    ToolCallResult(ToolCallResult) = "tool_call_result",
    /// The conversation flow moved to another node.
    NodeTransition(NodeTransition) = "node_transition",
    /// A multi-state prompt moved to another state. Chats only.
    StateTransition(StateTransition) = "state_transition",
    /// The user pressed a key of the phone. Calls only.
    Dtmf(Dtmf) = "dtmf",
    /// A text message was sent or received during the conversation.
    Sms(Sms) = "sms",
    /// Context was injected from outside; no one said it.
    Injected(Injected) = "injected",
}

impl FromJson for TranscriptItem {
    fn from_json(raw: &RawValue) -> Option<Self> {
        let with_known_role = RawFields::parse_value(raw).and_then(|mut fields| {
            let (_, role) = fields.take_first::<String>(&["role"])?;
            Self::from_role(&role, fields)
        });
        with_known_role.or_else(|| RawJson::from_json(raw).map(Self::Unknown))
    }
}

impl<'de> Deserialize<'de> for TranscriptItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_json::deserialize(deserializer)
    }
}

impl Serialize for TranscriptItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // An unknown item is written back unchanged, including its own `role`.
        if let Self::Unknown(json) = self {
            return json.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", self.role())?;
        self.write_fields(&mut map)?;
        map.end()
    }
}

open_object! {
    /// A tool call by the agent. Its result is a [`ToolCallResult`] with the same `tool_call_id`.
    pub struct ToolCallInvocation debug(tool_call_id, kind) {
        /// Id of the tool call, globally unique; the result has the same id.
        pub tool_call_id: String,
        /// Name of the tool; it may contain spaces and non-ASCII characters.
        pub name: String,
        /// The arguments as a JSON object inside a string.
        pub arguments: String,
        /// Type of the tool: `custom`, `code`, `mcp`, `end_call`, `transfer_call` and others.
        pub kind: String = "type",
        /// Opaque reasoning token of the model, from Gemini thinking models.
        pub thought_signature: String,
        /// The response of the agent that made the tool call.
        pub metadata: UtteranceMetadata,
        /// Id of the message; chats only.
        pub message_id: String,
        /// When the item was created, in milliseconds since the Unix epoch; chats only.
        pub created_timestamp: i64,
    }
}

open_object! {
    /// The result of a tool call.
    pub struct ToolCallResult debug(tool_call_id, successful) {
        /// Id of the tool call that this result belongs to.
        pub tool_call_id: String,
        /// The result as text, often JSON; at most 15,000 characters for custom functions.
        pub content: String,
        /// Whether the tool call succeeded; optional in the contract.
        pub successful: bool,
        /// Id of the message; chats only.
        pub message_id: String,
        /// When the item was created, in milliseconds since the Unix epoch; chats only.
        pub created_timestamp: i64,
    }
}

open_object! {
    /// A transition between two nodes of a conversation flow.
    pub struct NodeTransition debug(former_node_id, new_node_id, transition_type) {
        /// Id of the node that was left.
        pub former_node_id: String,
        /// Name of the node that was left.
        pub former_node_name: String,
        /// Id of the node that was entered.
        pub new_node_id: String,
        /// Name of the node that was entered.
        pub new_node_name: String,
        /// What caused the transition; optional in the contract.
        pub transition_type: TransitionType,
        /// Id of the message; chats only.
        pub message_id: String,
        /// When the item was created, in milliseconds since the Unix epoch; chats only.
        pub created_timestamp: i64,
    }
}

open_enum! {
    /// What caused a transition between two nodes.
    pub enum TransitionType {
        /// The flow entered a global node.
        Global = "global",
        /// The flow returned from a global node.
        GlobalGoBack = "global_go_back",
        /// The flow returned after an interruption.
        InterruptGoBack = "interrupt_go_back",
        /// The flow followed an edge of the node.
        Normal = "normal",
    }
}

open_object! {
    /// A transition between two states of a multi-state prompt. Chats only.
    pub struct StateTransition debug(former_state_name, new_state_name) {
        /// Name of the state that was left.
        pub former_state_name: String,
        /// Name of the state that was entered.
        pub new_state_name: String,
        /// Id of the message within the chat.
        pub message_id: String,
        /// When the transition happened, in milliseconds since the Unix epoch.
        pub created_timestamp: i64,
    }
}

open_object! {
    /// A key press (DTMF tone) of the user.
    pub struct Dtmf {
        /// The pressed key: a digit, `*` or `#`.
        pub digit: String,
    }
}

open_object! {
    /// A text message (SMS) within a call or chat.
    pub struct Sms {
        /// Text of the message, without attachments.
        pub content: String,
        /// When the message was sent, in seconds from the start of the call; calls only.
        pub time_sec: JsonNumber,
        /// Pictures and other attachments of the message.
        pub multimedia: Vec<Multimedia>,
        /// Id of the message; chats only.
        pub message_id: String,
        /// When the item was created, in milliseconds since the Unix epoch; chats only.
        pub created_timestamp: i64,
    }
}

open_object! {
    /// Context that was injected into the conversation from outside.
    pub struct Injected {
        /// Text of the injected context.
        pub content: String,
        /// When it was injected, in seconds from the start of the call; calls only.
        pub time_sec: JsonNumber,
        /// Id of the message; chats only.
        pub message_id: String,
        /// When the item was created, in milliseconds since the Unix epoch; chats only.
        pub created_timestamp: i64,
    }
}
