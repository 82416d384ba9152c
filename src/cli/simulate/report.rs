//! What a run came to, and how it is told.

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

/// Problems that are printed one by one; `--json` has all of them.
const MAX_PRINTED_STORE_PROBLEMS: usize = 20;

/// How requests ended.
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

/// What was compared with the store, or why nothing was.
pub(super) enum StoreCheck {
    Compared(StoreComparison),
    Skipped(String),
}

pub(super) struct SimulationReport<'a> {
    pub(super) seed: u64,
    pub(super) calls: u64,
    /// Calls that did not come to their end in time.
    pub(super) unfinished_calls: u64,
    pub(super) url: &'a str,
    pub(super) effects: bool,
    pub(super) duration: Duration,
    pub(super) sent_events: &'a [SentEvent],
    pub(super) latency: Option<&'a Histogram<u64>>,
    /// Requests that were sent again because nobody took them.
    pub(super) retries: u64,
    pub(super) store_check: StoreCheck,
    /// The requests of calls about appointments.
    pub(super) requests: &'a [RequestReport],
    /// Requests for functions, which are no events.
    pub(super) function_calls: u64,
    /// Calls about appointments whose functions the receiver does not have.
    pub(super) calls_without_functions: u64,
    /// They were asked for by name.
    pub(super) functions_required: bool,
    /// Why the rest was not sent.
    pub(super) stop_reason: Option<&'a str>,
}

impl SimulationReport<'_> {
    /// Everything was acknowledged, and what was acknowledged is there.
    pub(super) fn is_clean(&self) -> bool {
        let answered = self.requests.iter().all(|line| line.problem.is_none());
        let run = self.calls_without_functions == 0 || !self.functions_required;
        self.unacknowledged().is_empty() && self.problems().is_empty() && answered && run
    }

    fn problems(&self) -> &[StoreProblem] {
        match &self.store_check {
            StoreCheck::Compared(found) => &found.problems,
            StoreCheck::Skipped(_) => &[],
        }
    }

    /// Why requests were not acknowledged, and how many each time.
    fn unacknowledged(&self) -> BTreeMap<String, u64> {
        let mut missed: BTreeMap<_, u64> = BTreeMap::new();
        for sent in self.sent_events {
            let why = match sent.outcome {
                SendOutcome::Stored | SendOutcome::Duplicate => continue,
                SendOutcome::Rejected(status) | SendOutcome::Failed(status) => format!("status {status}"),
                SendOutcome::NoResponse(why) => why.to_owned(),
                SendOutcome::NotSent => "not sent".to_owned(),
            };
            *missed.entry(why).or_default() += 1;
        }
        if self.unfinished_calls > 0 {
            missed.insert("calls that were not finished".to_owned(), self.unfinished_calls);
        }
        missed
    }

    /// By scenario, and there by event in the order of their first requests.
    fn counts_by_event(&self) -> Vec<((Scenario, EventKind), SimulationCounts)> {
        let mut places = HashMap::new();
        let mut rows: Vec<((Scenario, EventKind), SimulationCounts)> = Vec::new();
        for sent in self.sent_events {
            let key = (sent.scenario, sent.event);
            let place = *places.entry(key).or_insert(rows.len());
            if place == rows.len() {
                rows.push((key, SimulationCounts::default()));
            }
            rows[place].1.record(sent.outcome);
        }
        rows.sort_by_key(|((scenario, _), _)| *scenario);
        rows
    }

    /// How many different bodies were acknowledged, and how many of them are in the store.
    fn stored_bodies(&self, key: (Scenario, EventKind)) -> Option<(u64, u64)> {
        match &self.store_check {
            StoreCheck::Compared(found) => Some(found.acknowledged_bodies.get(&key).copied().unwrap_or_default()),
            StoreCheck::Skipped(_) => None,
        }
    }

    fn latency_quantile_ms(&self, at: f64) -> Option<f64> {
        self.latency.map(|latency| milliseconds(latency.value_at_quantile(at)))
    }

    pub(super) fn print_text(&self) -> CliResult {
        let rows = self.counts_by_event().into_iter().map(|(key, counts)| {
            let kept = self.stored_bodies(key).map_or_else(|| "-".to_owned(), |(of, there)| format!("{there} of {of}"));
            let numbers = [counts.sent, counts.stored, counts.duplicate, counts.rejected, counts.failed];
            let names = [key.0.name(), key.1.to_string()];
            names.into_iter().chain(numbers.map(|number| number.to_string())).chain([kept]).collect()
        });
        let header = ["SCENARIO", "EVENT", "SENT", "STORED", "DUPLICATE", "REFUSED", "FAILED", "IN THE STORE"];
        output::print_table(&header, rows.collect(), "nothing was sent")?;
        output::print_line("")?;
        request_report::print_requests(self.requests)?;
        let (events, functions) = (self.sent_events.len() as u64, self.function_calls);
        let requests = events + functions;
        let of_functions = if functions > 0 { format!(", {functions} of them for functions,") } else { String::new() };
        let calls =
            format!("{} calls, {requests} requests{of_functions} in {:.1} s", self.calls, self.duration.as_secs_f64());
        let answered = self.latency_quantile_ms(0.5).zip(self.latency_quantile_ms(0.99));
        output::print_fields(&[
            ("sent", Some(format!("{calls}, seed {}", self.seed))),
            ("answered", answered.map(|(p50, p99)| format!("p50 {p50:.2} ms, p99 {p99:.2} ms"))),
            ("retried", (self.retries > 0).then(|| self.retries.to_string())),
            ("store", Some(self.store_summary())),
        ])?;
        for (why, count) in self.unacknowledged() {
            output::print_line(format!("NOT ACKNOWLEDGED  {count}: {why}"))?;
        }
        for StoreProblem { scenario, event, id, message: what } in
            self.problems().iter().take(MAX_PRINTED_STORE_PROBLEMS)
        {
            output::print_line(format!("WRONG  {event} of {id} ({}): {what}", scenario.name()))?;
        }
        if let Some(more) = self.problems().len().checked_sub(MAX_PRINTED_STORE_PROBLEMS).filter(|more| *more > 0) {
            output::print_line(format!("WRONG  and {more} more; --json lists them"))?;
        }
        if self.calls_without_functions > 0 {
            output::print_line(format!(
                "NOT RUN  the functions of {} calls of `appointment`: {FUNCTIONS_NOT_FOUND}",
                self.calls_without_functions
            ))?;
        }
        self.stop_reason.map_or(Ok(()), output::print_line)
    }

    fn store_summary(&self) -> String {
        let found = match &self.store_check {
            StoreCheck::Compared(found) => found,
            StoreCheck::Skipped(why) => return format!("not checked: {why}"),
        };
        let (of, there) =
            found.acknowledged_bodies.values().fold((0, 0), |sum, (of, there)| (sum.0 + of, sum.1 + there));
        let verdict = match (of, found.problems.len()) {
            (0, _) => return "nothing was acknowledged, so there is nothing to look for".to_owned(),
            (_, 0) => format!("it has all {of} acknowledged events, each once and in order"),
            (_, wrong) => format!(
                "{} of {of} acknowledged events are MISSING, {wrong} are not as they should be (if the receiver keeps \
                 its events elsewhere, run this in its folder)",
                of - there
            ),
        };
        format!("{verdict}; {} duplicates counted, {} revisions marked", found.duplicates, found.revisions)
    }

    pub(super) fn print_json(&self) -> CliResult {
        let events = self.counts_by_event().into_iter().map(|(key, counts)| {
            json!({ "scenario": key.0.name(), "event": key.1.as_str(), "sent": counts.sent, "stored": counts.stored,
                "duplicate": counts.duplicate, "refused": counts.rejected, "failed": counts.failed,
                "in_store": self.stored_bodies(key).map(|(_, there)| there) })
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
            "not_run_why": (self.calls_without_functions > 0).then_some(FUNCTIONS_NOT_FOUND),
            "retries": self.retries,
            "not_acknowledged": self.unacknowledged(),
            "stopped": self.stop_reason,
            "store": self.store_json(),
        }))
    }

    fn store_json(&self) -> Value {
        let found = match &self.store_check {
            StoreCheck::Compared(found) => found,
            StoreCheck::Skipped(why) => return json!({ "checked": false, "why": why }),
        };
        let (of, there) =
            found.acknowledged_bodies.values().fold((0, 0), |sum, (of, there)| (sum.0 + of, sum.1 + there));
        let problems = found.problems.iter().map(|problem| {
            json!({ "scenario": problem.scenario.name(), "event": problem.event.as_str(), "id": &*problem.id,
                "problem": problem.message })
        });
        json!({ "checked": true, "acknowledged": of, "found": there, "missing": of - there,
            "duplicates": found.duplicates, "revisions": found.revisions, "problems": problems.collect::<Vec<_>>() })
    }
}

#[allow(clippy::cast_precision_loss, reason = "a minute of microseconds is far below 2^52")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
