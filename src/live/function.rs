use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::time::Instant;

/// Something an agent's model can call: a custom function of Retell's.
///
/// Arguments have been checked against the function's schema, unless [`Function::checks_arguments`]. It is called once for
/// each invocation, however often Retell sends it.
#[async_trait]
pub trait Function: Send + Sync {
    /// Does it, before [`FunctionContext::deadline`].
    async fn call(&self, arguments: &Map<String, Value>, context: &FunctionContext) -> FunctionOutcome;

    /// Whether what an earlier invocation did still stands, so that an equal request in the same call is told the same. Asked
    /// of `context`'s invocation when such a request comes that is not the very same one sent again; `false` makes it an
    /// invocation of its own.
    async fn can_reuse_answer(&self, _context: &FunctionContext) -> bool {
        true
    }

    /// Whether it says by itself what is wrong with its arguments, in words that can be said aloud. They are not checked
    /// against its schema then.
    fn checks_arguments(&self) -> bool {
        false
    }

    /// What is answered when it could not be called, or not in time, unless settings say otherwise.
    fn fallback(&self) -> Option<Map<String, Value>> {
        None
    }
}

/// What a function is told besides its arguments.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FunctionContext {
    /// The function's name, as it was called.
    pub name: String,
    /// The company, as the store numbers it.
    pub company_id: i64,
    /// The company's slug.
    pub company: String,
    /// The call in which it is called; the chat's id for a chat. `None` when Retell sent the arguments alone.
    pub call_id: Option<String>,
    /// The model's id of this very invocation, when Retell sent it.
    pub tool_call_id: Option<String>,
    /// The caller's number, for an inbound call the number called from.
    pub from_number: Option<String>,
    /// The number called.
    pub to_number: Option<String>,
    /// The key under which an invocation is known over retries and restarts: use it as idempotency key.
    pub invocation_id: String,
    /// When it was received, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The answer is given up then, and the fallback sent.
    pub deadline: Instant,
}

impl FunctionContext {
    /// The context of an invocation in no call.
    #[must_use]
    pub fn new(
        name: &str,
        (company_id, company): (i64, &str),
        invocation: &str,
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
            invocation_id: invocation.to_owned(),
            received_at_ms,
            deadline,
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum FunctionOutcome {
    /// What the model is told, as JSON or text.
    Answer(Value),
    /// The arguments cannot be used; said in words the model can act on. Sent as a 2xx: Retell would only repeat it.
    InvalidArguments(String),
    /// It could not be done: the function's fallback is sent. The reason goes to the log and the ledger, without personal
    /// data.
    Failed(String),
}

/// A function that comes with the receiver, as the registry is given it.
#[derive(Clone)]
pub struct BuiltInFunction {
    /// Its name in the route and for the agent's model.
    pub name: String,
    /// What the model is told it does.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub parameters: Value,
    /// What is called.
    pub function: Arc<dyn Function>,
}
