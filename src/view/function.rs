//! Custom functions, their invocations, and the tools with which Retell invokes them.

use serde::Serialize;
use serde_json::Value;

use super::named_value::named_values;
use crate::config::FunctionSettings;

named_values! {
    /// The state of an invocation in the ledger.
    InvocationStateView {
        Running = "running",
        Done = "done",
        InvalidArguments = "invalid_arguments",
        /// The function gave no answer; the fallback was sent.
        Failed = "failed",
    }
}

/// The settings of a function without secrets. The schema itself replaces the name of a schema file.
#[derive(Serialize)]
pub(crate) struct FunctionView {
    /// Without `parameters`.
    #[serde(flatten)]
    pub settings: FunctionSettings,
    /// JSON Schema of the arguments.
    pub parameters: Value,
}

/// A tool of the type `custom` for `general_tools` of a Retell LLM.
#[derive(Serialize)]
pub(crate) struct RetellToolView {
    pub r#type: &'static str,
    pub name: String,
    pub description: String,
    pub url: String,
    pub method: Option<String>,
    pub parameters: Value,
    pub timeout_ms: u64,
}

/// The settings of a function that was converted.
#[derive(Serialize)]
pub(crate) struct FunctionTableView {
    /// A `[[functions]]` table, or a comment about a built-in function that needs none. Secrets are commented out.
    pub toml: String,
}

/// An invocation in the ledger.
#[derive(Serialize)]
pub(crate) struct InvocationView {
    /// The idempotency key.
    pub invocation: String,
    /// The slug of the company.
    pub company: String,
    pub function: String,
    pub call_id: Option<String>,
    /// The id that the model gave to this tool call.
    pub tool_call_id: Option<String>,
    pub received_at_ms: i64,
    /// `None` while it runs.
    pub ended_at_ms: Option<i64>,
    pub state: InvocationStateView,
    /// Number of times the function was called.
    pub runs: u32,
    /// The arguments as JSON; `None` when they were too large to keep.
    pub arguments: Option<String>,
    pub answer: Option<String>,
    pub truncated: bool,
    /// The cause of the failure, without personal data.
    pub reason: Option<String>,
}

/// The response of a receiver to a function call for a test.
#[derive(Serialize)]
pub(crate) struct FunctionTestView {
    pub status: u16,
    /// The outcome that the receiver names in a header.
    pub outcome: Option<String>,
    /// A string when the answer is not JSON.
    pub answer: Value,
    pub duration_ms: u128,
    #[serde(skip)]
    pub succeeded: bool,
    /// The answer as it was received.
    #[serde(skip)]
    pub answer_text: String,
}
