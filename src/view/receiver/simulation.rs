//! The result of simulated calls: what was sent, what was acknowledged, and what the store holds.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// The result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct SimulationView {
    /// Whether every request was acknowledged, every answer was correct, and the store holds every acknowledged
    /// event.
    pub ok: bool,
    pub seed: u64,
    pub calls: u64,
    pub url: String,
    pub effects: bool,
    pub seconds: f64,
    /// By scenario and event; the events of a scenario are in the order of their first requests.
    pub events: Vec<SimulatedEventView>,
    pub latency_ms: LatencyView,
    /// Number of requests to functions, which are not counted as events.
    pub function_calls: u64,
    /// The requests of all calls in the scenario `appointment`.
    pub requests: Vec<SimulatedRequestView>,
    /// Number of calls in the scenario `appointment` whose functions the receiver does not have.
    pub not_run: u64,
    pub not_run_reason: Option<&'static str>,
    /// Number of requests that were sent again because they were not acknowledged.
    pub retries: u64,
    /// Number of requests that were not acknowledged, by reason.
    pub not_acknowledged: BTreeMap<String, u64>,
    /// Why the remaining requests were not sent; `None` when all were sent.
    pub stop_reason: Option<String>,
    pub store: StoreComparisonView,
}

/// The requests of one event in one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct SimulatedEventView {
    pub scenario: &'static str,
    pub event: &'static str,
    #[serde(flatten)]
    pub counts: RequestCountsView,
    /// Number of different bodies that were acknowledged; `None` without a comparison.
    #[serde(skip)]
    pub acknowledged: Option<u64>,
    /// Number of different acknowledged bodies that the store holds.
    pub in_store: Option<u64>,
}

/// Latency of the acknowledged requests, in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct LatencyView {
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

/// The comparison with the store. `checked` tells the two forms apart in JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum StoreComparisonView {
    Compared {
        checked: bool,
        acknowledged: u64,
        found: u64,
        missing: u64,
        duplicates: u64,
        revisions: u64,
        problems: Vec<StoreProblemView>,
    },
    Skipped {
        checked: bool,
        reason: String,
    },
}

/// An acknowledged event that the store does not hold as expected.
#[derive(Debug, Serialize)]
pub(crate) struct StoreProblemView {
    pub scenario: &'static str,
    pub event: &'static str,
    pub id: String,
    pub problem: String,
}

impl StoreComparisonView {
    /// The problems that were found; none without a comparison.
    pub(crate) fn problems(&self) -> &[StoreProblemView] {
        match self {
            Self::Compared { problems, .. } => problems,
            Self::Skipped { .. } => &[],
        }
    }
}

/// Number of requests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct RequestCountsView {
    pub sent: u64,
    pub stored: u64,
    pub duplicate: u64,
    pub rejected: u64,
    pub failed: u64,
}

/// One request of a call with its response and the result of the check.
#[derive(Debug, Serialize)]
pub(crate) struct SimulatedRequestView {
    pub call: String,
    pub step: &'static str,
    pub request: SimulatedRequestContentView,
    pub status: Option<u16>,
    /// Value of the outcome header, which answers of functions have.
    pub outcome: Option<String>,
    pub result: &'static str,
    /// The body of the response: its JSON, otherwise its text.
    pub answer: Value,
    pub duration_ms: f64,
    pub deadline_ms: u64,
    pub expectation: String,
    pub ok: bool,
    pub problem: Option<String>,
}

/// The part of a request that differs between the steps of a call.
#[derive(Debug, Serialize)]
pub(crate) struct SimulatedRequestContentView {
    pub method: &'static str,
    pub path: String,
    /// Arguments of a function, or the content of an inbound request.
    pub arguments: Option<Value>,
}
