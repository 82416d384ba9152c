//! The results of requests that test a receiver, and of signatures that are checked.

use std::collections::BTreeMap;

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

/// The result of a load on a receiver.
#[derive(Debug, Serialize)]
pub(crate) struct LoadReportView {
    pub accepted: u64,
    pub per_second: f64,
    pub seconds: f64,
    /// Sum of the sizes of the answered requests' bodies.
    pub body_bytes: u64,
    /// Quantiles and maximum of the latency in milliseconds, by their names `p50` to `p99.9` and `max`.
    pub latency_ms: BTreeMap<&'static str, f64>,
    /// Number of requests that were not accepted, by status or reason.
    pub failed: BTreeMap<String, u64>,
    /// Number of due requests that were not sent, because no connection was free until the end.
    pub not_sent: u64,
    /// Whether every due request was sent and accepted.
    #[serde(skip)]
    pub ok: bool,
}

/// The result of checking a signature.
#[derive(Debug, Serialize)]
pub(crate) struct SignatureCheckView {
    pub valid: bool,
    /// The key that made a valid signature.
    pub key_fingerprint: Option<String>,
    /// Why the signature is not valid.
    pub diagnosis: Option<String>,
    /// Whether the body was too large to look for changes that explain an invalid signature.
    pub body_too_large: bool,
}
