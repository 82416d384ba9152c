//! Retell's documents as raw JSON, and the parts that are read.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// A document as Retell sent it, with the order of its fields and those that this program does not know.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Document(Box<RawValue>);

impl Document {
    /// The fields that `T` names, if they have its types.
    pub(crate) fn view<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.0.get()).ok()
    }
}

/// Whether an agent speaks in calls or writes in chats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgentChannel {
    Voice,
    Chat,
}

impl AgentChannel {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Chat => "chat",
        }
    }
}

/// The workspace and the name of an API key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct KeyInfo {
    pub(crate) org_id: String,
    pub(crate) org_name: String,
    #[serde(default)]
    pub(crate) api_key_name: Option<String>,
}

/// An agent in a list, which has neither its webhook nor its engine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct AgentItem {
    pub(crate) agent_id: String,
}

/// A version of an agent in a list, or the agent itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct AgentVersion {
    pub(crate) version: u64,
    pub(crate) is_published: bool,
}

/// What generates an agent's words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum ResponseEngine {
    RetellLlm {
        llm_id: String,
        #[serde(default)]
        version: Option<u64>,
    },
    ConversationFlow {
        conversation_flow_id: String,
        #[serde(default)]
        version: Option<u64>,
    },
    #[serde(other)]
    Other,
}
