//! Makes the result of a run: what was sent, what was acknowledged, and what the store holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::SimulationOptions;
use super::appointment::FUNCTIONS_NOT_FOUND;
use super::run::SimulationRun;
use super::scenario::Scenario;
use super::sender::SendOutcome;
use super::store_check::{SentEvent, StoreComparison};
use crate::event::EventKind;
use crate::privacy::redact;
use crate::view::{
    LatencyView, RequestCountsView, SimulatedEventView, SimulationView, StoreComparisonView, StoreProblemView,
};

const INTERRUPTED_MESSAGE: &str =
    "interrupted: the remaining requests were not sent, and the booked appointments were canceled";

fn count_outcome(counts: &mut RequestCountsView, outcome: SendOutcome) {
    counts.sent += 1;
    *match outcome {
        SendOutcome::Stored => &mut counts.stored,
        SendOutcome::Duplicate => &mut counts.duplicate,
        SendOutcome::Rejected(_) => &mut counts.rejected,
        SendOutcome::Failed(_) | SendOutcome::NoResponse(_) | SendOutcome::NotSent => &mut counts.failed,
    } += 1;
}

/// The comparison with the store, or the reason why there was none.
pub(super) enum StoreCheck {
    Compared(StoreComparison),
    Skipped(String),
}

pub(super) fn simulation_view(
    options: &SimulationOptions<'_>,
    run: &SimulationRun,
    duration: Duration,
    sent_events: &[SentEvent],
    store_check: &StoreCheck,
) -> SimulationView {
    let requests = std::mem::take(&mut *run.requests.lock().unwrap_or_else(PoisonError::into_inner));
    let latency = run.latency.lock().unwrap_or_else(PoisonError::into_inner);
    let quantile =
        |at: f64| latency.as_ref().map(|latency: &Histogram<u64>| milliseconds(latency.value_at_quantile(at)));
    let not_run = run.calls_without_functions.load(Ordering::Relaxed);
    let not_acknowledged = unacknowledged(sent_events, run.calls - run.completed_calls.load(Ordering::Relaxed));
    let has_store_problems = matches!(store_check, StoreCheck::Compared(comparison) if !comparison.problems.is_empty());
    let stop_reason = run.sender.stop_reason().or(run.stop.is_cancelled().then_some(INTERRUPTED_MESSAGE));
    SimulationView {
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
        latency_ms: LatencyView { p50: quantile(0.5), p99: quantile(0.99) },
        function_calls: run.function_calls.load(Ordering::Relaxed),
        requests,
        not_run,
        not_run_reason: (not_run > 0).then_some(FUNCTIONS_NOT_FOUND),
        retries: run.retries.load(Ordering::Relaxed),
        not_acknowledged,
        stop_reason: stop_reason.map(str::to_owned),
        store: store_comparison_view(store_check),
    }
}

fn store_comparison_view(store_check: &StoreCheck) -> StoreComparisonView {
    let comparison = match store_check {
        StoreCheck::Compared(comparison) => comparison,
        StoreCheck::Skipped(reason) => return StoreComparisonView::Skipped { checked: false, reason: reason.clone() },
    };
    let (acknowledged, found) = comparison.totals();
    let problems = comparison.problems.iter().map(|problem| StoreProblemView {
        scenario: problem.scenario.name(),
        event: problem.event.as_str(),
        id: problem.id.to_string(),
        problem: problem.message.clone(),
    });
    StoreComparisonView::Compared {
        checked: true,
        acknowledged,
        found,
        missing: acknowledged - found,
        duplicates: comparison.duplicates,
        revisions: comparison.revisions,
        problems: problems.collect(),
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

fn count_events(sent_events: &[SentEvent], store_check: &StoreCheck) -> Vec<SimulatedEventView> {
    let mut row_by_key = HashMap::new();
    let mut rows: Vec<((Scenario, EventKind), RequestCountsView)> = Vec::new();
    for sent in sent_events {
        let key = (sent.scenario, sent.event);
        let index = *row_by_key.entry(key).or_insert(rows.len());
        if index == rows.len() {
            rows.push((key, RequestCountsView::default()));
        }
        count_outcome(&mut rows[index].1, sent.outcome);
    }
    rows.sort_by_key(|((scenario, _), _)| *scenario);
    let row = |(key, counts): ((Scenario, EventKind), RequestCountsView)| {
        let bodies = match store_check {
            StoreCheck::Compared(comparison) => {
                Some(comparison.acknowledged_bodies.get(&key).copied().unwrap_or_default())
            }
            StoreCheck::Skipped(_) => None,
        };
        SimulatedEventView {
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
