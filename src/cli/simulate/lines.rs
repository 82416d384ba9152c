//! The requests of calls about appointments, one by one: what was asked, what was answered, and when.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::output::{self, Done};
use super::courier::{Delivered, Outcome, TIMEOUT};
use super::{Playing, Run, asked};
use crate::event::EventKind;

/// What the way there and back may add to a deadline that the receiver keeps.
const WAY: Duration = Duration::from_millis(100);
/// Calls whose requests are printed one by one, and problems of the others; `--json` has all.
const SHOWN_CALLS: usize = 3;
const SHOWN_PROBLEMS: usize = 20;
/// Characters of a line; `--json` has all.
const WIDTH: usize = 160;

/// What is asked.
pub(super) struct Asked<'a> {
    pub(super) call: &'a Arc<str>,
    pub(super) step: &'static str,
    pub(super) url: &'a url::Url,
    /// Of a function, or what an inbound request is about.
    pub(super) arguments: Option<Value>,
    pub(super) deadline: Duration,
}

/// What is thought of the answer.
pub(super) struct Judged {
    pub(super) result: &'static str,
    /// What it was held against.
    pub(super) checked: String,
    pub(super) problem: Option<String>,
}

/// One request of a call.
pub(super) struct Line {
    call: Arc<str>,
    pub(super) step: &'static str,
    path: String,
    arguments: Option<Value>,
    status: Option<u16>,
    outcome: Option<String>,
    answer: Bytes,
    took: Duration,
    deadline: Duration,
    result: &'static str,
    checked: String,
    pub(super) problem: Option<String>,
}

impl Line {
    pub(super) fn new(asked: Asked<'_>, delivered: &Delivered, judged: Judged) -> Self {
        let Asked { call, step, url, arguments, deadline } = asked;
        let Judged { result, checked, problem } = judged;
        let took = delivered.took;
        let problem = match delivered.outcome {
            Outcome::Unanswered(why) => Some(why.to_owned()),
            Outcome::NotSent => problem.or_else(|| Some("not sent".to_owned())),
            Outcome::Refused(status) | Outcome::Failed(status) => Some(format!("status {status}")),
            Outcome::Stored | Outcome::Duplicate => {
                let late = (took > deadline + WAY).then(|| format!("later than {} ms", deadline.as_millis()));
                problem.or(late)
            }
        };
        let (status, outcome, answer) = (delivered.status, delivered.said.clone(), delivered.answer.clone());
        let (call, path) = (Arc::clone(call), url.path().to_owned());
        Self { call, step, path, arguments, status, outcome, answer, took, deadline, result, checked, problem }
    }

    /// The answer and its time; the request; what was told.
    fn text(&self) -> [Option<String>; 3] {
        let status = self.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let outcome = self.outcome.as_deref().map(|outcome| format!(" ({outcome})")).unwrap_or_default();
        let verdict = match &self.problem {
            Some(problem) => format!("WRONG: {problem}"),
            None => format!("ok: {}", self.checked),
        };
        let (took, deadline) = (self.took.as_secs_f64() * 1000.0, self.deadline.as_millis());
        let answered =
            format!("{}: {status} {}{outcome}, {took:.1} of {deadline} ms, {verdict}", self.step, self.result);
        // An inbound request is about two numbers.
        let is_inbound = self.step.ends_with("_inbound");
        let arguments = self.arguments.as_ref().filter(|_| !is_inbound).map(|arguments| format!(" {arguments}"));
        let request = format!("    POST {}{}", self.path, arguments.unwrap_or_default());
        let told = (!self.answer.is_empty()).then(|| format!("    -> {}", self.told()));
        [Some(format!("  {answered}")), Some(request), told]
    }

    /// What the model says aloud, with what it needs for that; of other answers all.
    fn told(&self) -> String {
        let answer = self.answer();
        let Some(message) = answer.get("message").and_then(Value::as_str) else { return answer.to_string() };
        let more = ["confirmation_number", "alternatives"];
        let more =
            more.iter().filter_map(|key| Some(format!(" [{key}: {}]", answer.get(key).filter(|it| is_some(it))?)));
        more.fold(message.to_owned(), |told, one| told + &one)
    }

    fn answer(&self) -> Value {
        serde_json::from_slice(&self.answer).unwrap_or_else(|_| String::from_utf8_lossy(&self.answer).into())
    }

    pub(super) fn json(&self) -> Value {
        json!({ "call": &*self.call, "step": self.step,
            "request": { "method": "POST", "path": self.path, "arguments": self.arguments },
            "status": self.status, "outcome": self.outcome, "result": self.result, "answer": self.answer(),
            "took_ms": self.took.as_secs_f64() * 1000.0, "deadline_ms": u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX),
            "checked": self.checked, "ok": self.problem.is_none(), "problem": self.problem })
    }
}

fn is_some(value: &Value) -> bool {
    !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty())
}

impl Run {
    pub(super) fn note_event(&self, playing: &Playing, (event, body): (EventKind, &[u8]), delivered: &Delivered) {
        let (mut arguments, mut url, mut deadline) = (None, self.courier.url(), TIMEOUT);
        let (result, checked, problem) = match delivered.outcome {
            _ if event.is_inbound() => {
                (url, deadline) = (&self.inbound.0, self.inbound.1);
                arguments = serde_json::from_slice::<Value>(body).ok().map(|mut body| body["call_inbound"].take());
                let (result, problem) = asked::inbound(&delivered.answer);
                (result, "as Retell's contract has it", problem)
            }
            Outcome::Stored => ("stored", "acknowledged", None),
            Outcome::Duplicate => ("duplicate", "acknowledged", None),
            _ => ("-", "", None),
        };
        let asked = Asked { call: &playing.id, step: event.as_str(), url, arguments, deadline };
        self.note(Line::new(asked, delivered, Judged { result, checked: checked.to_owned(), problem }));
    }

    pub(super) fn note(&self, line: Line) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    pub(super) fn note_latency(&self, took: Duration) {
        if let Some(latency) = self.latency.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }
}

/// All of a few calls, and what is wrong in the others.
pub(super) fn print(lines: &[Line]) -> Done {
    if lines.is_empty() {
        return Ok(());
    }
    let mut calls: Vec<&str> = Vec::new();
    for line in lines {
        if calls.len() < SHOWN_CALLS && !calls.contains(&&*line.call) {
            calls.push(&line.call);
        }
    }
    let is_shown = |line: &&Line| calls.contains(&&*line.call);
    let mut shown: Vec<_> = lines.iter().filter(is_shown).collect();
    // Calls run side by side; a call's own requests keep their order.
    shown.sort_by_key(|line| calls.iter().position(|call| *call == &*line.call));
    let wrong = lines.iter().filter(|line| !is_shown(line) && line.problem.is_some());
    shown.extend(wrong.take(SHOWN_PROBLEMS));
    let more = lines.len() - shown.len();
    let mut call = "";
    for line in shown {
        if call != &*line.call {
            call = &line.call;
            output::line(call)?;
        }
        line.text().iter().flatten().try_for_each(|text| output::line(short(text)))?;
    }
    if more > 0 {
        output::line(format!("and {more} more requests; --json lists them"))?;
    }
    output::line("")
}

fn short(text: &str) -> String {
    let text = output::plain(text);
    if text.chars().count() <= WIDTH {
        return text;
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
}
