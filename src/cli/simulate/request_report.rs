//! The requests of calls about appointments, one by one: what was asked, what was answered, and when.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::output::{self, CliResult};
use super::sender::{REQUEST_TIMEOUT, SendOutcome, SendResult};
use super::{CallProgress, SimulationRun, live_answer};
use crate::event::EventKind;

/// What the way there and back may add to a deadline that the receiver keeps.
const NETWORK_MARGIN: Duration = Duration::from_millis(100);
/// Calls whose requests are printed one by one, and problems of the others; `--json` has all.
const MAX_PRINTED_CALLS: usize = 3;
const MAX_PRINTED_REQUEST_PROBLEMS: usize = 20;
/// Characters of a line; `--json` has all.
const MAX_LINE_CHARS: usize = 160;

/// What is asked.
pub(super) struct RequestDetails<'a> {
    pub(super) call: &'a Arc<str>,
    pub(super) step: &'static str,
    pub(super) url: &'a url::Url,
    /// Of a function, or what an inbound request is about.
    pub(super) arguments: Option<Value>,
    pub(super) deadline: Duration,
}

/// What is thought of the answer.
pub(super) struct AnswerCheck {
    pub(super) result: &'static str,
    /// What it was held against.
    pub(super) expectation: String,
    pub(super) problem: Option<String>,
}

/// One request of a call.
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
    pub(super) fn new(asked: RequestDetails<'_>, delivered: &SendResult, judged: AnswerCheck) -> Self {
        let RequestDetails { call, step, url, arguments, deadline } = asked;
        let AnswerCheck { result, expectation: checked, problem } = judged;
        let took = delivered.duration;
        let problem = match delivered.outcome {
            SendOutcome::NoResponse(why) => Some(why.to_owned()),
            SendOutcome::NotSent => problem.or_else(|| Some("not sent".to_owned())),
            SendOutcome::Rejected(status) | SendOutcome::Failed(status) => Some(format!("status {status}")),
            SendOutcome::Stored | SendOutcome::Duplicate => {
                let late =
                    (took > deadline + NETWORK_MARGIN).then(|| format!("later than {} ms", deadline.as_millis()));
                problem.or(late)
            }
        };
        let (status, outcome, answer) =
            (delivered.status, delivered.outcome_header.clone(), delivered.response_body.clone());
        let (call, path) = (Arc::clone(call), url.path().to_owned());
        Self {
            call,
            step,
            path,
            arguments,
            status,
            outcome_header: outcome,
            response_body: answer,
            duration: took,
            deadline,
            result,
            expectation: checked,
            problem,
        }
    }

    /// The answer and its time; the request; what was told.
    fn to_lines(&self) -> [Option<String>; 3] {
        let status = self.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let outcome = self.outcome_header.as_deref().map(|outcome| format!(" ({outcome})")).unwrap_or_default();
        let verdict = match &self.problem {
            Some(problem) => format!("WRONG: {problem}"),
            None => format!("ok: {}", self.expectation),
        };
        let (took, deadline) = (self.duration.as_secs_f64() * 1000.0, self.deadline.as_millis());
        let answered =
            format!("{}: {status} {}{outcome}, {took:.1} of {deadline} ms, {verdict}", self.step, self.result);
        // An inbound request is about two numbers.
        let is_inbound = self.step.ends_with("_inbound");
        let arguments = self.arguments.as_ref().filter(|_| !is_inbound).map(|arguments| format!(" {arguments}"));
        let request = format!("    POST {}{}", self.path, arguments.unwrap_or_default());
        let told = (!self.response_body.is_empty()).then(|| format!("    -> {}", self.answer_text()));
        [Some(format!("  {answered}")), Some(request), told]
    }

    /// What the model says aloud, with what it needs for that; of other answers all.
    fn answer_text(&self) -> String {
        let answer = self.answer_json();
        let Some(message) = answer.get("message").and_then(Value::as_str) else { return answer.to_string() };
        let more = ["confirmation_number", "alternatives"];
        let more =
            more.iter().filter_map(|key| Some(format!(" [{key}: {}]", answer.get(key).filter(|it| is_present(it))?)));
        more.fold(message.to_owned(), |told, one| told + &one)
    }

    fn answer_json(&self) -> Value {
        serde_json::from_slice(&self.response_body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&self.response_body).into())
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "call": &*self.call, "step": self.step,
            "request": { "method": "POST", "path": self.path, "arguments": self.arguments },
            "status": self.status, "outcome": self.outcome_header, "result": self.result, "answer": self.answer_json(),
            "took_ms": self.duration.as_secs_f64() * 1000.0, "deadline_ms": u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX),
            "checked": self.expectation, "ok": self.problem.is_none(), "problem": self.problem })
    }
}

fn is_present(value: &Value) -> bool {
    !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty())
}

impl SimulationRun {
    pub(super) fn record_event_request(
        &self,
        playing: &CallProgress,
        (event, body): (EventKind, &[u8]),
        delivered: &SendResult,
    ) {
        let (mut arguments, mut url, mut deadline) = (None, self.sender.webhook_url(), REQUEST_TIMEOUT);
        let (result, checked, problem) = match delivered.outcome {
            _ if event.is_inbound() => {
                (url, deadline) = (&self.inbound_endpoint.0, self.inbound_endpoint.1);
                arguments = serde_json::from_slice::<Value>(body).ok().map(|mut body| body["call_inbound"].take());
                let (result, problem) = live_answer::check_inbound_answer(&delivered.response_body);
                (result, "as Retell's contract has it", problem)
            }
            SendOutcome::Stored => ("stored", "acknowledged", None),
            SendOutcome::Duplicate => ("duplicate", "acknowledged", None),
            _ => ("-", "", None),
        };
        let asked = RequestDetails { call: &playing.id, step: event.as_str(), url, arguments, deadline };
        self.record_request(RequestReport::new(
            asked,
            delivered,
            AnswerCheck { result, expectation: checked.to_owned(), problem },
        ));
    }

    pub(super) fn record_request(&self, line: RequestReport) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    pub(super) fn record_latency(&self, took: Duration) {
        if let Some(latency) = self.latency.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }
}

/// All of a few calls, and what is wrong in the others.
pub(super) fn print_requests(lines: &[RequestReport]) -> CliResult {
    if lines.is_empty() {
        return Ok(());
    }
    let mut calls: Vec<&str> = Vec::new();
    for line in lines {
        if calls.len() < MAX_PRINTED_CALLS && !calls.contains(&&*line.call) {
            calls.push(&line.call);
        }
    }
    let is_shown = |line: &&RequestReport| calls.contains(&&*line.call);
    let mut shown: Vec<_> = lines.iter().filter(is_shown).collect();
    // Calls run side by side; a call's own requests keep their order.
    shown.sort_by_key(|line| calls.iter().position(|call| *call == &*line.call));
    let wrong = lines.iter().filter(|line| !is_shown(line) && line.problem.is_some());
    shown.extend(wrong.take(MAX_PRINTED_REQUEST_PROBLEMS));
    let more = lines.len() - shown.len();
    let mut call = "";
    for line in shown {
        if call != &*line.call {
            call = &line.call;
            output::print_line(call)?;
        }
        line.to_lines().iter().flatten().try_for_each(|text| output::print_line(truncate_line(text)))?;
    }
    if more > 0 {
        output::print_line(format!("and {more} more requests; --json lists them"))?;
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
