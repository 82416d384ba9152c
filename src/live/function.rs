//! What a custom function is, in this process or elsewhere.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::base::id::CompanyId;

/// A Retell custom function, which the agent's model calls during a call or chat.
///
/// The arguments were checked against the function's schema. It is called once per invocation, however often Retell
/// sends the request, and again only when no answer was stored: after a failure, invalid arguments or a restart.
#[async_trait]
pub trait Function: Send + Sync {
    /// Runs the function. The caller gets the fallback when it takes longer than [`FunctionContext::deadline`].
    async fn call(&self, arguments: &Map<String, Value>, context: &FunctionContext) -> FunctionOutcome;
}

#[async_trait]
impl<F, R> Function for F
where
    F: Fn(Map<String, Value>, FunctionContext) -> R + Send + Sync,
    R: Future<Output = FunctionOutcome> + Send,
{
    async fn call(&self, arguments: &Map<String, Value>, context: &FunctionContext) -> FunctionOutcome {
        let called = self(arguments.clone(), context.clone());
        called.await
    }
}

/// Decides whether the answer of an earlier invocation is still true, see [`FunctionPolicy::can_reuse_answer`].
pub(crate) type ReuseCheck = Arc<dyn Fn(FunctionContext) -> BoxFuture<'static, bool> + Send + Sync>;

/// How the invocations of a function differ from those of an ordinary one, which is the default.
#[derive(Clone)]
pub struct FunctionPolicy {
    /// The function checks its arguments itself, to report problems in words that can be read to the caller. They are
    /// then not checked against its schema. Such a function changes what belongs to a caller, so a signature counts for
    /// the call that it was first used in.
    pub checks_arguments: bool,
    /// The answer when the function failed or took too long. `fallback` in the settings takes precedence.
    pub fallback: Option<Map<String, Value>>,
    /// Whether the function may continue after its fallback was sent. Its late answer is stored for a retry.
    pub may_answer_late: bool,
    /// Whether a second request with equal arguments in the same call gets the earlier answer; `None` means that it
    /// does. `invocation_id` in the context is that of the earlier invocation; all other fields are those of the new
    /// request. `false` starts a new invocation. Not asked for a repeated request (same signature or same tool call
    /// id): it gets the stored answer, or runs again if there was none.
    pub can_reuse_answer: Option<ReuseCheck>,
}

impl Default for FunctionPolicy {
    fn default() -> Self {
        Self { checks_arguments: false, fallback: None, may_answer_late: true, can_reuse_answer: None }
    }
}

/// The invocation that a function runs for: who called it, in which call, and until when.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FunctionContext {
    /// Name under which the function was called. A `[[functions]]` table with `builtin` can rename it.
    pub name: String,
    /// Id of the company in the store.
    pub company_id: CompanyId,
    /// Slug of the company, as in the route and the settings.
    pub company: String,
    /// Id of the call, or of the chat. `None` when Retell sent only the arguments and no call id in a header or the
    /// query.
    pub call_id: Option<String>,
    /// The model's id of this tool call, when the request contains a transcript with tool calls.
    pub tool_call_id: Option<String>,
    /// Number that placed the call: the caller's for an inbound call. `None` when the request does not contain the
    /// call.
    pub from_number: Option<String>,
    /// Number that was called. `None` when the request does not contain the call.
    pub to_number: Option<String>,
    /// Idempotency key of the invocation, `inv_…`. It stays the same when the function is called again after a
    /// failure or a restart.
    pub invocation_id: String,
    /// When the head of the request had arrived, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// When the fallback is sent instead of the answer: `timeout_ms` after the request arrived.
    pub deadline: Instant,
}

impl FunctionContext {
    /// The context of an invocation outside a call. Set the other fields as needed.
    #[must_use]
    pub fn new(
        name: &str,
        company_id: CompanyId,
        company: &str,
        invocation_id: &str,
        received_at_ms: i64,
        deadline: Instant,
    ) -> Self {
        Self {
            name: name.to_owned(),
            company_id,
            company: company.to_owned(),
            call_id: None,
            tool_call_id: None,
            from_number: None,
            to_number: None,
            invocation_id: invocation_id.to_owned(),
            received_at_ms,
            deadline,
        }
    }
}

/// How a call of a function ended.
#[derive(Clone, Debug, PartialEq)]
pub enum FunctionOutcome {
    /// The answer for the model. A JSON string is sent as text, any other value as JSON.
    Answer(Value),
    /// The arguments cannot be used. The text tells the model what to correct. It is sent with status 200, because
    /// Retell repeats a request that was answered with an error status.
    InvalidArguments(String),
    /// The function failed, and its fallback is sent. The text goes to the log and the invocation ledger: it must not
    /// contain personal data.
    Failed(String),
}

/// A function that is part of the receiver or was added with `ReceiverBuilder::function`.
#[derive(Clone)]
pub struct BuiltInFunction {
    pub name: String,
    /// Tells the agent's model what the function does and when to call it.
    pub description: String,
    /// JSON Schema of the arguments.
    pub parameters: Value,
    pub function: Arc<dyn Function>,
    pub policy: FunctionPolicy,
}
