//! The items of transcripts and chat message lists. The `role` of an item says what it is.

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::from_json::{self, FromJson};
use super::json_number::JsonNumber;
use super::open_enum::open_enum;
use super::open_object::{OpenObject, json_key, open_object};
use super::raw_fields::RawFields;
use super::raw_json::RawJson;
use super::utterance::{Multimedia, Utterance, UtteranceMetadata};

/// Makes the enum of items and everything that goes by role from one table.
macro_rules! transcript_items {
    ($($(#[$meta:meta])* $variant:ident($item:ident) = $role:literal,)*) => {
        /// One item of a transcript (voice) or message list (chat). Both share most roles, so they share one type.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum TranscriptItem {
            $($(#[$meta])* $variant($item),)*
            /// A role not listed here, or no object with a role at all. One such item does not spoil its list.
            Unknown(RawJson),
        }

        impl TranscriptItem {
            /// The role as it stands in JSON; empty for [`Unknown`](Self::Unknown).
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
    /// The agent spoke or wrote.
    Agent(Utterance) = "agent",
    /// The user spoke or wrote.
    User(Utterance) = "user",
    /// The person a call was transferred to spoke.
    TransferTarget(Utterance) = "transfer_target",
    /// The agent called a tool.
    ToolCallInvocation(ToolCallInvocation) = "tool_call_invocation",
    /// A tool answered.
    ToolCallResult(ToolCallResult) = "tool_call_result",
    /// The conversation flow went to another node.
    NodeTransition(NodeTransition) = "node_transition",
    /// A multi-state prompt went to another state. Chats only.
    StateTransition(StateTransition) = "state_transition",
    /// The user pressed a key.
    Dtmf(Dtmf) = "dtmf",
    /// A text message during the conversation.
    Sms(Sms) = "sms",
    /// Context put in from outside; nobody said it.
    Injected(Injected) = "injected",
}

impl FromJson for TranscriptItem {
    fn from_json(raw: &RawValue) -> Option<Self> {
        let known = RawFields::parse_value(raw).and_then(|mut fields| {
            let (_, role) = fields.take_first::<String>(&["role"])?;
            Self::from_role(&role, fields)
        });
        known.or_else(|| RawJson::from_json(raw).map(Self::Unknown))
    }
}

impl<'de> Deserialize<'de> for TranscriptItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_json::deserialize(deserializer)
    }
}

impl Serialize for TranscriptItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
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
    /// A call of a tool.
    pub struct ToolCallInvocation shows(tool_call_id, kind) {
        /// Ties the result to the call.
        pub tool_call_id: String,
        /// Name of the tool; may hold spaces and any letters.
        pub name: String,
        /// The arguments: JSON inside a string.
        pub arguments: String,
        /// Kind of tool: `custom`, `code`, `mcp`, `end_call`, `transfer_call` and more.
        pub kind: String = "type",
        /// Opaque token of the model.
        pub thought_signature: String,
        /// Where the call came from.
        pub metadata: UtteranceMetadata,
        /// Id of the message. Chat only.
        pub message_id: String,
        /// When, ms since 1970. Chat only.
        pub created_timestamp: i64,
    }
}

open_object! {
    /// The answer of a tool.
    pub struct ToolCallResult shows(tool_call_id, successful) {
        /// The invocation it answers.
        pub tool_call_id: String,
        /// The answer as text.
        pub content: String,
        /// Whether the tool worked.
        pub successful: bool,
        /// Id of the message. Chat only.
        pub message_id: String,
        /// When, ms since 1970. Chat only.
        pub created_timestamp: i64,
    }
}

open_object! {
    /// A step from node to node of a conversation flow.
    pub struct NodeTransition shows(former_node_id, new_node_id, transition_type) {
        /// The node left.
        pub former_node_id: String,
        /// Its name.
        pub former_node_name: String,
        /// The node reached.
        pub new_node_id: String,
        /// Its name.
        pub new_node_name: String,
        /// How the step came about.
        pub transition_type: TransitionType,
        /// Id of the message. Chat only.
        pub message_id: String,
        /// When, ms since 1970. Chat only.
        pub created_timestamp: i64,
    }
}

open_enum! {
    /// How a step between nodes came about.
    pub enum TransitionType {
        /// To a global node.
        Global = "global",
        /// Back from a global node.
        GlobalGoBack = "global_go_back",
        /// Back after an interruption.
        InterruptGoBack = "interrupt_go_back",
        /// Along an edge.
        Normal = "normal",
    }
}

open_object! {
    /// A step from state to state of a multi-state prompt.
    pub struct StateTransition shows(former_state_name, new_state_name) {
        /// The state left.
        pub former_state_name: String,
        /// The state reached.
        pub new_state_name: String,
        /// Id of the message.
        pub message_id: String,
        /// When, ms since 1970.
        pub created_timestamp: i64,
    }
}

open_object! {
    /// A key pressed.
    pub struct Dtmf {
        /// The key.
        pub digit: String,
    }
}

open_object! {
    /// A text message.
    pub struct Sms {
        /// The text.
        pub content: String,
        /// When, seconds from the start of the call. Voice only.
        pub time_sec: JsonNumber,
        /// Attachments.
        pub multimedia: Vec<Multimedia>,
        /// Id of the message. Chat only.
        pub message_id: String,
        /// When, ms since 1970. Chat only.
        pub created_timestamp: i64,
    }
}

open_object! {
    /// Context put in from outside.
    pub struct Injected {
        /// The text.
        pub content: String,
        /// When, seconds from the start of the call. Voice only.
        pub time_sec: JsonNumber,
        /// Id of the message. Chat only.
        pub message_id: String,
        /// When, ms since 1970. Chat only.
        pub created_timestamp: i64,
    }
}
