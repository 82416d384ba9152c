//! What commands report that test a receiver.

use serde::Serialize;
use serde_json::Value;

/// What the inbound rules would answer to a made-up request.
#[derive(Serialize)]
pub(crate) struct InboundTestView {
    /// The rule that would answer; `None` if no rule matches.
    pub rule: Option<String>,
    /// `None` if a service would answer, since a test sends no request.
    pub answer: Option<Value>,
    /// Why the fallback would be answered.
    pub fallback_reason: Option<String>,
    /// The answer as it would be sent.
    #[serde(skip)]
    pub answer_text: Option<String>,
}

/// The response of a receiver to an event that was sent to it.
#[derive(Serialize)]
pub(crate) struct SendResultView {
    /// The HTTP status.
    pub status: u16,
    /// The beginning of the body.
    pub response_body: String,
    pub duration_ms: u128,
    /// The URL that the event was sent to, without its password.
    pub url: String,
}

/// A kind of call that can be simulated.
#[derive(Serialize)]
pub(crate) struct ScenarioView {
    pub name: &'static str,
    pub description: &'static str,
}
