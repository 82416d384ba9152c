//! Calls and chats, and statistics about them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::base::id::CompanyId;
use crate::calls::{CallKind, CallStage, Cost, E2eLatency};

/// A call or a chat; a chat has the field names of Retell's chat object.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum ConversationView {
    Call(Box<CallView>),
    Chat(Box<ChatView>),
}

/// The fields that have the same name for calls and chats.
#[derive(Serialize)]
pub(crate) struct ConversationBaseView {
    pub kind: CallKind,
    pub company_id: CompanyId,
    /// The slug of the company.
    pub company: String,
    /// The latest stage of any event so far.
    pub stage: CallStage,
    /// Whether it is a test, which statistics exclude.
    pub test: bool,
    pub agent_id: Option<String>,
    pub agent_name: Option<String>,
    pub agent_version: Option<i64>,
    pub started_at_ms: Option<i64>,
    pub ended_at_ms: Option<i64>,
    pub duration_ms: Option<i64>,
    pub user_sentiment: Option<String>,
    /// Combined cost in US cents, as decimal text.
    pub cost_cents: Option<String>,
    /// When the first event was received.
    pub first_event_at_ms: i64,
    /// When the latest event was received.
    pub last_event_at_ms: i64,
}

#[derive(Serialize)]
pub(crate) struct CallView {
    pub call_id: String,
    pub call_type: Option<String>,
    pub call_status: Option<String>,
    pub call_successful: Option<bool>,
    pub direction: Option<String>,
    /// Masked when personal data is hidden.
    pub from_number: Option<String>,
    /// Masked when personal data is hidden.
    pub to_number: Option<String>,
    pub disconnection_reason: Option<String>,
    pub in_voicemail: Option<bool>,
    pub latency_e2e: Option<E2eLatency>,
    /// Whether an event contained the URL of a recording.
    pub has_recording: Option<bool>,
    /// `started`, `bridged`, `cancelled` or `ended`.
    pub transfer_state: Option<&'static str>,
    #[serde(flatten)]
    pub base: ConversationBaseView,
}

#[derive(Serialize)]
pub(crate) struct ChatView {
    pub chat_id: String,
    pub chat_type: Option<String>,
    pub chat_status: Option<String>,
    pub chat_successful: Option<bool>,
    #[serde(flatten)]
    pub base: ConversationBaseView,
}

/// One call or chat with what is known about its content.
#[derive(Serialize)]
pub(crate) struct ConversationDetailsView {
    #[serde(flatten)]
    pub conversation: ConversationView,
    pub has_summary: bool,
    pub has_custom_analysis_data: bool,
    /// `None` when personal data is hidden; the fields are then absent.
    #[serde(flatten)]
    pub texts: Option<ConversationTextsView>,
}

/// The content of a conversation, which is personal data.
#[derive(Serialize)]
pub(crate) struct ConversationTextsView {
    pub summary: Option<String>,
    /// A string when the stored text cannot be parsed as JSON.
    pub custom_analysis_data: Option<Value>,
}

/// Totals of calls or chats, and the groups of each requested grouping. Tests are excluded.
#[derive(Serialize)]
pub(crate) struct CallStatsView {
    /// `calls` or `chats`.
    pub kind: &'static str,
    pub since_ms: Option<i64>,
    pub until_ms: Option<i64>,
    /// The slug of the only company that is counted.
    pub company: Option<String>,
    /// The id of the only agent that is counted.
    pub agent: Option<String>,
    /// The time zone of the days.
    pub time_zone: &'static str,
    pub tests_excluded: u64,
    pub total: CallTotalsView,
    /// Groups by the name of the grouping.
    pub by: BTreeMap<&'static str, Vec<CallGroupView>>,
}

#[derive(Serialize)]
pub(crate) struct CallTotalsView {
    pub count: u64,
    pub duration_ms: i64,
    pub average_duration_ms: Option<i64>,
    pub cost_cents: Cost,
    /// Number of calls of which it is known whether the agent reached its goal.
    pub evaluated: u64,
    pub successful: u64,
    /// Successful among evaluated calls, 0 to 1.
    pub success_rate: Option<f64>,
}

#[derive(Serialize)]
pub(crate) struct CallGroupView {
    /// The common value of the group; `None` for calls without the value.
    pub key: Option<String>,
    /// Present in the groups of agents only.
    #[serde(flatten)]
    pub agent: Option<AgentNameView>,
    /// Share of all counted calls, 0 to 1.
    pub share: Option<f64>,
    #[serde(flatten)]
    pub totals: CallTotalsView,
}

#[derive(Serialize)]
pub(crate) struct AgentNameView {
    pub name: Option<String>,
}

/// What a rebuild of the statistics did.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RebuiltStatsView {
    /// Calls and chats, attempts or invocations that were counted.
    pub counted: u64,
    pub corrected_totals: u64,
}
