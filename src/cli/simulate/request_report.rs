//! Report of every request in the scenario `appointment`: request, response, duration and result of the check.

use std::fmt::Write;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::output::{self, CliResult};
use super::sender::{REQUEST_TIMEOUT, SendOutcome, SendResult};
use super::{CallProgress, SimulationRun, live_answer};
use crate::event::EventKind;

/// Time that the network may add to a deadline that the receiver meets.
const NETWORK_MARGIN: Duration = Duration::from_millis(100);
/// Number of calls whose requests are all printed; `--json` contains all calls.
const MAX_PRINTED_CALLS: usize = 3;
/// Number of problems that are printed of the other calls.
const MAX_PRINTED_REQUEST_PROBLEMS: usize = 20;
/// Longest printed line in characters; `--json` contains the full texts.
const MAX_LINE_CHARS: usize = 160;

/// A request before it is sent.
pub(super) struct RequestDetails<'a> {
    pub(super) call: &'a Arc<str>,
    pub(super) step: &'static str,
    pub(super) url: &'a url::Url,
    /// Arguments of a function, or the content of an inbound request.
    pub(super) arguments: Option<Value>,
    pub(super) deadline: Duration,
}

/// The result of checking an answer.
pub(super) struct AnswerCheck {
    pub(super) result: &'static str,
    /// What the answer was compared with, in words.
    pub(super) expectation: String,
    pub(super) problem: Option<String>,
}

/// One request of a call with its response and the result of the check.
pub(super) struct RequestReport {
    call: Arc<str>,
    pub(super) step: &'static str,
    path: String,
    arguments: Option<Value>,
    status: Option<u16>,
    outcome_header: Option<String>,
    response_body: Bytes,
    duration: Duration,
    deadline: Duration,
    result: &'static str,
    expectation: String,
    pub(super) problem: Option<String>,
}

impl RequestReport {
    pub(super) fn new(request: RequestDetails<'_>, sent: &SendResult, check: AnswerCheck) -> Self {
        let RequestDetails { call, step, url, arguments, deadline } = request;
        let AnswerCheck { result, expectation, problem } = check;
        let duration = sent.duration;
        let problem = match sent.outcome {
            SendOutcome::NoResponse(reason) => Some(reason.to_owned()),
            SendOutcome::NotSent => problem.or_else(|| Some("not sent".to_owned())),
            SendOutcome::Rejected(status) | SendOutcome::Failed(status) => Some(format!("status {status}")),
            SendOutcome::Stored | SendOutcome::Duplicate => {
                // A wrong answer is the more important problem, so lateness is reported only for correct ones.
                let is_late = duration > deadline + NETWORK_MARGIN;
                problem.or_else(|| is_late.then(|| format!("later than {} ms", deadline.as_millis())))
            }
        };
        Self {
            call: Arc::clone(call),
            step,
            path: url.path().to_owned(),
            arguments,
            status: sent.status,
            outcome_header: sent.outcome_header.clone(),
            response_body: sent.response_body.clone(),
            duration,
            deadline,
            result,
            expectation,
            problem,
        }
    }

    /// The lines for the terminal: result and duration, the request, the answer.
    fn to_lines(&self) -> [Option<String>; 3] {
        let status = self.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let outcome = self.outcome_header.as_deref().map(|outcome| format!(" ({outcome})")).unwrap_or_default();
        let verdict = match &self.problem {
            Some(problem) => format!("WRONG: {problem}"),
            None => format!("ok: {}", self.expectation),
        };
        let duration_ms = self.duration.as_secs_f64() * 1000.0;
        let deadline_ms = self.deadline.as_millis();
        let summary = format!(
            "{}: {status} {}{outcome}, {duration_ms:.1} of {deadline_ms} ms, {verdict}",
            self.step, self.result
        );
        // The content of an inbound request is two phone numbers, which are not printed.
        let is_inbound = self.step.ends_with("_inbound");
        let arguments = self.arguments.as_ref().filter(|_| !is_inbound).map(|arguments| format!(" {arguments}"));
        let request = format!("    POST {}{}", self.path, arguments.unwrap_or_default());
        let answer = (!self.response_body.is_empty()).then(|| format!("    -> {}", self.answer_text()));
        [Some(format!("  {summary}")), Some(request), answer]
    }

    /// The message that the model reads to the caller, with confirmation number and alternatives; of other answers
    /// the whole text.
    fn answer_text(&self) -> String {
        let answer = self.answer_json();
        let Some(message) = answer.get("message").and_then(Value::as_str) else { return answer.to_string() };
        let mut text = message.to_owned();
        for key in ["confirmation_number", "alternatives"] {
            if let Some(value) = answer.get(key).filter(|value| is_present(value)) {
                let _ = write!(text, " [{key}: {value}]");
            }
        }
        text
    }

    fn answer_json(&self) -> Value {
        serde_json::from_slice(&self.response_body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&self.response_body).into())
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "call": &*self.call, "step": self.step,
            "request": { "method": "POST", "path": self.path, "arguments": self.arguments },
            "status": self.status, "outcome": self.outcome_header, "result": self.result, "answer": self.answer_json(),
            "duration_ms": self.duration.as_secs_f64() * 1000.0,
            "deadline_ms": u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX),
            "expectation": self.expectation, "ok": self.problem.is_none(), "problem": self.problem })
    }
}

fn is_present(value: &Value) -> bool {
    !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty())
}

impl SimulationRun {
    pub(super) fn record_event_request(
        &self,
        progress: &CallProgress,
        event: EventKind,
        body: &[u8],
        sent: &SendResult,
    ) {
        let mut arguments = None;
        let mut url = self.sender.webhook_url();
        let mut deadline = REQUEST_TIMEOUT;
        let (result, expectation, problem) = match sent.outcome {
            _ if event.is_inbound() => {
                (url, deadline) = (&self.inbound_endpoint.0, self.inbound_endpoint.1);
                arguments = serde_json::from_slice::<Value>(body).ok().map(|mut body| body["call_inbound"].take());
                let (result, problem) = live_answer::check_inbound_answer(&sent.response_body);
                (result, "conforms to Retell's contract", problem)
            }
            SendOutcome::Stored => ("stored", "acknowledged", None),
            SendOutcome::Duplicate => ("duplicate", "acknowledged", None),
            _ => ("-", "", None),
        };
        let request = RequestDetails { call: &progress.id, step: event.as_str(), url, arguments, deadline };
        let check = AnswerCheck { result, expectation: expectation.to_owned(), problem };
        self.record_request(RequestReport::new(request, sent, check));
    }

    pub(super) fn record_request(&self, request: RequestReport) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }

    pub(super) fn record_latency(&self, duration: Duration) {
        if let Some(latency) = self.latency.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            latency.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        }
    }
}

/// Prints all requests of the first calls, and the problems of the others.
pub(super) fn print_requests(requests: &[RequestReport]) -> CliResult {
    if requests.is_empty() {
        return Ok(());
    }
    let mut calls: Vec<&str> = Vec::new();
    for request in requests {
        if calls.len() < MAX_PRINTED_CALLS && !calls.contains(&&*request.call) {
            calls.push(&request.call);
        }
    }
    let is_shown = |request: &&RequestReport| calls.contains(&&*request.call);
    let mut shown: Vec<_> = requests.iter().filter(is_shown).collect();
    // Calls run concurrently, so their requests are interleaved. The stable sort keeps the order within a call.
    shown.sort_by_key(|request| calls.iter().position(|call| *call == &*request.call));
    let problems = requests.iter().filter(|request| !is_shown(request) && request.problem.is_some());
    shown.extend(problems.take(MAX_PRINTED_REQUEST_PROBLEMS));
    let hidden_count = requests.len() - shown.len();
    let mut call = "";
    for request in shown {
        if call != &*request.call {
            call = &request.call;
            output::print_line(call)?;
        }
        for line in request.to_lines().iter().flatten() {
            output::print_line(truncate_line(line))?;
        }
    }
    if hidden_count > 0 {
        output::print_line(format!("and {hidden_count} more requests; --json lists them"))?;
    }
    output::print_line("")
}

fn truncate_line(text: &str) -> String {
    let text = output::sanitize(text);
    if text.chars().count() <= MAX_LINE_CHARS {
        return text;
    }
    text.chars().take(MAX_LINE_CHARS - 1).chain(['…']).collect()
}
