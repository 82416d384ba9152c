//! The report of a run, as text and as JSON.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::super::output::{self, CliResult};
use super::appointment::FUNCTIONS_NOT_FOUND;
use super::request_report::{self, RequestReport};
use super::scenario::Scenario;
use super::sender::SendOutcome;
use super::store_check::{SentEvent, StoreComparison, StoreProblem};
use crate::event::EventKind;

/// Number of store problems that are printed; `--json` contains all of them.
const MAX_PRINTED_STORE_PROBLEMS: usize = 20;

/// Number of requests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SimulationCounts {
    sent: u64,
    stored: u64,
    duplicate: u64,
    rejected: u64,
    failed: u64,
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

pub(super) struct SimulationReport<'a> {
    pub(super) seed: u64,
    pub(super) calls: u64,
    /// Number of calls that did not end in time.
    pub(super) unfinished_calls: u64,
    pub(super) url: &'a str,
    pub(super) effects: bool,
    pub(super) duration: Duration,
    pub(super) sent_events: &'a [SentEvent],
    pub(super) latency: Option<&'a Histogram<u64>>,
    /// Number of requests that were sent again because they were not acknowledged.
    pub(super) retries: u64,
    pub(super) store_check: StoreCheck,
    /// The requests of all calls in the scenario `appointment`.
    pub(super) requests: &'a [RequestReport],
    /// Number of requests to functions, which are not counted as events.
    pub(super) function_calls: u64,
    /// Number of calls in the scenario `appointment` whose functions the receiver does not have.
    pub(super) calls_without_functions: u64,
    /// Whether the scenario `appointment` was given by name, so that missing functions are a failure.
    pub(super) functions_required: bool,
    /// Why the remaining requests were not sent; `None` when all were sent.
    pub(super) stop_reason: Option<&'a str>,
}

impl SimulationReport<'_> {
    /// Whether every request was acknowledged, every answer was correct, and the store holds every acknowledged
    /// event.
    pub(super) fn is_clean(&self) -> bool {
        let answers_are_correct = self.requests.iter().all(|request| request.problem.is_none());
        let functions_were_called = self.calls_without_functions == 0 || !self.functions_required;
        self.unacknowledged().is_empty()
            && self.store_problems().is_empty()
            && answers_are_correct
            && functions_were_called
    }

    fn store_problems(&self) -> &[StoreProblem] {
        match &self.store_check {
            StoreCheck::Compared(comparison) => &comparison.problems,
            StoreCheck::Skipped(_) => &[],
        }
    }

    /// Number of requests that were not acknowledged, by reason.
    fn unacknowledged(&self) -> BTreeMap<String, u64> {
        let mut counts: BTreeMap<_, u64> = BTreeMap::new();
        for sent in self.sent_events {
            let reason = match sent.outcome {
                SendOutcome::Stored | SendOutcome::Duplicate => continue,
                SendOutcome::Rejected(status) | SendOutcome::Failed(status) => format!("status {status}"),
                SendOutcome::NoResponse(reason) => reason.to_owned(),
                SendOutcome::NotSent => "not sent".to_owned(),
            };
            *counts.entry(reason).or_default() += 1;
        }
        if self.unfinished_calls > 0 {
            counts.insert("unfinished calls".to_owned(), self.unfinished_calls);
        }
        counts
    }

    /// Counts by scenario and event; the events of a scenario are in the order of their first requests.
    fn counts_by_event(&self) -> Vec<((Scenario, EventKind), SimulationCounts)> {
        let mut row_by_key = HashMap::new();
        let mut rows: Vec<((Scenario, EventKind), SimulationCounts)> = Vec::new();
        for sent in self.sent_events {
            let key = (sent.scenario, sent.event);
            let index = *row_by_key.entry(key).or_insert(rows.len());
            if index == rows.len() {
                rows.push((key, SimulationCounts::default()));
            }
            rows[index].1.record(sent.outcome);
        }
        rows.sort_by_key(|((scenario, _), _)| *scenario);
        rows
    }

    /// Number of different bodies that were acknowledged, and number of those that are in the store.
    fn stored_bodies(&self, key: (Scenario, EventKind)) -> Option<(u64, u64)> {
        match &self.store_check {
            StoreCheck::Compared(comparison) => {
                Some(comparison.acknowledged_bodies.get(&key).copied().unwrap_or_default())
            }
            StoreCheck::Skipped(_) => None,
        }
    }

    fn latency_quantile_ms(&self, at: f64) -> Option<f64> {
        self.latency.map(|latency| milliseconds(latency.value_at_quantile(at)))
    }

    pub(super) fn print_text(&self) -> CliResult {
        let rows = self.counts_by_event().into_iter().map(|(key, counts)| {
            let in_store = match self.stored_bodies(key) {
                Some((acknowledged, stored)) => format!("{stored} of {acknowledged}"),
                None => "-".to_owned(),
            };
            let numbers = [counts.sent, counts.stored, counts.duplicate, counts.rejected, counts.failed];
            let mut row = vec![key.0.name(), key.1.to_string()];
            row.extend(numbers.map(|number| number.to_string()));
            row.push(in_store);
            row
        });
        let header = ["SCENARIO", "EVENT", "SENT", "STORED", "DUPLICATE", "REJECTED", "FAILED", "IN STORE"];
        output::print_table(&header, rows.collect(), "nothing was sent")?;
        output::print_line("")?;
        request_report::print_requests(self.requests)?;
        let latency = self.latency_quantile_ms(0.5).zip(self.latency_quantile_ms(0.99));
        output::print_fields(&[
            ("sent", Some(self.sent_summary())),
            ("latency", latency.map(|(p50, p99)| format!("p50 {p50:.2} ms, p99 {p99:.2} ms"))),
            ("retries", (self.retries > 0).then(|| self.retries.to_string())),
            ("store", Some(self.store_summary())),
        ])?;
        for (reason, count) in self.unacknowledged() {
            output::print_line(format!("NOT ACKNOWLEDGED  {count}: {reason}"))?;
        }
        self.print_store_problems()?;
        if self.calls_without_functions > 0 {
            output::print_line(format!(
                "NOT RUN  the functions of {} calls of `appointment`: {FUNCTIONS_NOT_FOUND}",
                self.calls_without_functions
            ))?;
        }
        self.stop_reason.map_or(Ok(()), output::print_line)
    }

    fn sent_summary(&self) -> String {
        let Self { calls, function_calls, seed, .. } = self;
        let requests = self.sent_events.len() as u64 + function_calls;
        let to_functions = match function_calls {
            0 => String::new(),
            _ => format!(", {function_calls} of them to functions,"),
        };
        let seconds = self.duration.as_secs_f64();
        format!("{calls} calls, {requests} requests{to_functions} in {seconds:.1} s, seed {seed}")
    }

    fn print_store_problems(&self) -> CliResult {
        let problems = self.store_problems();
        for StoreProblem { scenario, event, id, message } in problems.iter().take(MAX_PRINTED_STORE_PROBLEMS) {
            output::print_line(format!("WRONG  {event} of {id} ({}): {message}", scenario.name()))?;
        }
        if problems.len() > MAX_PRINTED_STORE_PROBLEMS {
            let hidden_count = problems.len() - MAX_PRINTED_STORE_PROBLEMS;
            output::print_line(format!("WRONG  and {hidden_count} more; --json lists them"))?;
        }
        Ok(())
    }

    fn store_summary(&self) -> String {
        let comparison = match &self.store_check {
            StoreCheck::Compared(comparison) => comparison,
            StoreCheck::Skipped(reason) => return format!("not checked: {reason}"),
        };
        let (acknowledged, stored) = comparison.totals();
        let result = match (acknowledged, comparison.problems.len()) {
            (0, _) => return "not checked: no event was acknowledged".to_owned(),
            (_, 0) => format!("all {acknowledged} acknowledged events are stored, each once and in order"),
            (_, problem_count) => format!(
                "{} of {acknowledged} acknowledged events are MISSING, {problem_count} problems in total (if the \
                 receiver has its store in another folder, run this command there)",
                acknowledged - stored
            ),
        };
        let StoreComparison { duplicates, revisions, .. } = comparison;
        format!("{result}; {duplicates} duplicates counted, {revisions} revisions marked")
    }

    pub(super) fn print_json(&self) -> CliResult {
        let events = self.counts_by_event().into_iter().map(|(key, counts)| {
            json!({ "scenario": key.0.name(), "event": key.1.as_str(), "sent": counts.sent, "stored": counts.stored,
                "duplicate": counts.duplicate, "rejected": counts.rejected, "failed": counts.failed,
                "in_store": self.stored_bodies(key).map(|(_, stored)| stored) })
        });
        output::print_json(&json!({
            "ok": self.is_clean(),
            "seed": self.seed,
            "calls": self.calls,
            "url": self.url,
            "effects": self.effects,
            "seconds": self.duration.as_secs_f64(),
            "events": events.collect::<Vec<_>>(),
            "latency_ms": { "p50": self.latency_quantile_ms(0.5), "p99": self.latency_quantile_ms(0.99) },
            "function_calls": self.function_calls,
            "requests": self.requests.iter().map(RequestReport::to_json).collect::<Vec<_>>(),
            "not_run": self.calls_without_functions,
            "not_run_reason": (self.calls_without_functions > 0).then_some(FUNCTIONS_NOT_FOUND),
            "retries": self.retries,
            "not_acknowledged": self.unacknowledged(),
            "stop_reason": self.stop_reason,
            "store": self.store_json(),
        }))
    }

    fn store_json(&self) -> Value {
        let comparison = match &self.store_check {
            StoreCheck::Compared(comparison) => comparison,
            StoreCheck::Skipped(reason) => return json!({ "checked": false, "reason": reason }),
        };
        let (acknowledged, stored) = comparison.totals();
        let problems = comparison.problems.iter().map(|problem| {
            json!({ "scenario": problem.scenario.name(), "event": problem.event.as_str(), "id": &*problem.id,
                "problem": problem.message })
        });
        json!({ "checked": true, "acknowledged": acknowledged, "found": stored, "missing": acknowledged - stored,
            "duplicates": comparison.duplicates, "revisions": comparison.revisions,
            "problems": problems.collect::<Vec<_>>() })
    }
}

#[allow(clippy::cast_precision_loss, reason = "a minute of microseconds is far below 2^52")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
