//! The report of a run as data: what was sent, what was acknowledged, and what the store holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::SimulationOptions;
use super::appointment::FUNCTIONS_NOT_FOUND;
use super::request_report::RequestReport;
use super::run::SimulationRun;
use super::scenario::Scenario;
use super::sender::SendOutcome;
use super::store_check::{SentEvent, StoreComparison};
use crate::event::EventKind;
use crate::privacy::redact;

const INTERRUPTED_MESSAGE: &str =
    "interrupted: the remaining requests were not sent, and the booked appointments were canceled";

/// Number of requests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SimulationCounts {
    pub(crate) sent: u64,
    pub(crate) stored: u64,
    pub(crate) duplicate: u64,
    pub(crate) rejected: u64,
    pub(crate) failed: u64,
}

impl SimulationCounts {
    fn record(&mut self, outcome: SendOutcome) {
        self.sent += 1;
        *match outcome {
            SendOutcome::Stored => &mut self.stored,
            SendOutcome::Duplicate => &mut self.duplicate,
            SendOutcome::Rejected(_) => &mut self.rejected,
            SendOutcome::Failed(_) | SendOutcome::NoResponse(_) | SendOutcome::NotSent => &mut self.failed,
        } += 1;
    }
}

/// The comparison with the store, or the reason why there was none.
pub(super) enum StoreCheck {
    Compared(StoreComparison),
    Skipped(String),
}

/// The result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct SimulationReport {
    /// Whether every request was acknowledged, every answer was correct, and the store holds every acknowledged
    /// event.
    pub(crate) ok: bool,
    pub(crate) seed: u64,
    pub(crate) calls: u64,
    pub(crate) url: String,
    pub(crate) effects: bool,
    pub(crate) seconds: f64,
    /// By scenario and event; the events of a scenario are in the order of their first requests.
    pub(crate) events: Vec<SentEventCounts>,
    pub(crate) latency_ms: LatencyQuantiles,
    /// Number of requests to functions, which are not counted as events.
    pub(crate) function_calls: u64,
    /// The requests of all calls in the scenario `appointment`.
    pub(crate) requests: Vec<RequestReport>,
    /// Number of calls in the scenario `appointment` whose functions the receiver does not have.
    pub(crate) not_run: u64,
    pub(crate) not_run_reason: Option<&'static str>,
    /// Number of requests that were sent again because they were not acknowledged.
    pub(crate) retries: u64,
    /// Number of requests that were not acknowledged, by reason.
    pub(crate) not_acknowledged: BTreeMap<String, u64>,
    /// Why the remaining requests were not sent; `None` when all were sent.
    pub(crate) stop_reason: Option<String>,
    pub(crate) store: StoreReport,
}

/// The requests of one event in one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct SentEventCounts {
    pub(crate) scenario: &'static str,
    pub(crate) event: &'static str,
    #[serde(flatten)]
    pub(crate) counts: SimulationCounts,
    /// Number of different bodies that were acknowledged; `None` without a comparison.
    #[serde(skip)]
    pub(crate) acknowledged: Option<u64>,
    /// Number of different acknowledged bodies that the store holds.
    pub(crate) in_store: Option<u64>,
}

/// Latency of the acknowledged requests, in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct LatencyQuantiles {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

/// The comparison with the store. `checked` tells the two forms apart in JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum StoreReport {
    Compared {
        checked: bool,
        acknowledged: u64,
        found: u64,
        missing: u64,
        duplicates: u64,
        revisions: u64,
        problems: Vec<StoreProblemReport>,
    },
    Skipped {
        checked: bool,
        reason: String,
    },
}

/// An acknowledged event that the store does not hold as expected.
#[derive(Debug, Serialize)]
pub(crate) struct StoreProblemReport {
    pub(crate) scenario: &'static str,
    pub(crate) event: &'static str,
    pub(crate) id: String,
    pub(crate) problem: String,
}

impl SimulationReport {
    pub(super) fn new(
        options: &SimulationOptions<'_>,
        run: &SimulationRun,
        duration: Duration,
        sent_events: &[SentEvent],
        store_check: &StoreCheck,
    ) -> Self {
        let requests = std::mem::take(&mut *run.requests.lock().unwrap_or_else(PoisonError::into_inner));
        let latency = run.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let quantile =
            |at: f64| latency.as_ref().map(|latency: &Histogram<u64>| milliseconds(latency.value_at_quantile(at)));
        let not_run = run.calls_without_functions.load(Ordering::Relaxed);
        let not_acknowledged = unacknowledged(sent_events, run.calls - run.completed_calls.load(Ordering::Relaxed));
        let has_store_problems =
            matches!(store_check, StoreCheck::Compared(comparison) if !comparison.problems.is_empty());
        let stop_reason = run.sender.stop_reason().or(run.stop.is_cancelled().then_some(INTERRUPTED_MESSAGE));
        Self {
            ok: not_acknowledged.is_empty()
                && !has_store_problems
                && requests.iter().all(|request| request.ok)
                && (not_run == 0 || !options.functions_required),
            seed: run.seed,
            calls: run.calls,
            url: redact::url(options.request_url().as_str()),
            effects: options.effects,
            seconds: duration.as_secs_f64(),
            events: count_events(sent_events, store_check),
            latency_ms: LatencyQuantiles { p50: quantile(0.5), p99: quantile(0.99) },
            function_calls: run.function_calls.load(Ordering::Relaxed),
            requests,
            not_run,
            not_run_reason: (not_run > 0).then_some(FUNCTIONS_NOT_FOUND),
            retries: run.retries.load(Ordering::Relaxed),
            not_acknowledged,
            stop_reason: stop_reason.map(str::to_owned),
            store: StoreReport::new(store_check),
        }
    }
}

impl StoreReport {
    fn new(store_check: &StoreCheck) -> Self {
        let comparison = match store_check {
            StoreCheck::Compared(comparison) => comparison,
            StoreCheck::Skipped(reason) => return Self::Skipped { checked: false, reason: reason.clone() },
        };
        let (acknowledged, found) = comparison.totals();
        let problems = comparison.problems.iter().map(|problem| StoreProblemReport {
            scenario: problem.scenario.name(),
            event: problem.event.as_str(),
            id: problem.id.to_string(),
            problem: problem.message.clone(),
        });
        Self::Compared {
            checked: true,
            acknowledged,
            found,
            missing: acknowledged - found,
            duplicates: comparison.duplicates,
            revisions: comparison.revisions,
            problems: problems.collect(),
        }
    }

    /// The problems that were found; none without a comparison.
    pub(crate) fn problems(&self) -> &[StoreProblemReport] {
        match self {
            Self::Compared { problems, .. } => problems,
            Self::Skipped { .. } => &[],
        }
    }
}

fn unacknowledged(sent_events: &[SentEvent], unfinished_calls: u64) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<_, u64> = BTreeMap::new();
    for sent in sent_events {
        let reason = match sent.outcome {
            SendOutcome::Stored | SendOutcome::Duplicate => continue,
            SendOutcome::Rejected(status) | SendOutcome::Failed(status) => format!("status {status}"),
            SendOutcome::NoResponse(reason) => reason.to_owned(),
            SendOutcome::NotSent => "not sent".to_owned(),
        };
        *counts.entry(reason).or_default() += 1;
    }
    if unfinished_calls > 0 {
        counts.insert("unfinished calls".to_owned(), unfinished_calls);
    }
    counts
}

fn count_events(sent_events: &[SentEvent], store_check: &StoreCheck) -> Vec<SentEventCounts> {
    let mut row_by_key = HashMap::new();
    let mut rows: Vec<((Scenario, EventKind), SimulationCounts)> = Vec::new();
    for sent in sent_events {
        let key = (sent.scenario, sent.event);
        let index = *row_by_key.entry(key).or_insert(rows.len());
        if index == rows.len() {
            rows.push((key, SimulationCounts::default()));
        }
        rows[index].1.record(sent.outcome);
    }
    rows.sort_by_key(|((scenario, _), _)| *scenario);
    let row = |(key, counts): ((Scenario, EventKind), SimulationCounts)| {
        let bodies = match store_check {
            StoreCheck::Compared(comparison) => {
                Some(comparison.acknowledged_bodies.get(&key).copied().unwrap_or_default())
            }
            StoreCheck::Skipped(_) => None,
        };
        SentEventCounts {
            scenario: key.0.name(),
            event: key.1.as_str(),
            counts,
            acknowledged: bodies.map(|(acknowledged, _)| acknowledged),
            in_store: bodies.map(|(_, stored)| stored),
        }
    };
    rows.into_iter().map(row).collect()
}

#[allow(clippy::cast_precision_loss, reason = "a minute of microseconds is far below 2^52")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
