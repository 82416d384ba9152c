//! Requests that somebody on the line waits for: what was answered, when, and whether that is right. Of an answer only
//! words are kept that say nothing of a caller.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::super::output::{self, Done};
use super::courier::{Delivered, Outcome};
use crate::answers::inbound::InboundAnswer;
use crate::config::InboundKind;

/// What the way there and back may add to a deadline that the receiver keeps.
const WAY: Duration = Duration::from_millis(100);
/// Calls whose requests are printed one by one, and problems of the others; `--json` has all.
const SHOWN_CALLS: usize = 3;
const SHOWN_PROBLEMS: usize = 20;
const RESULTS: [&str; 7] = ["booked", "changed", "cancelled", "unavailable", "invalid", "not_found", "failed"];

/// One request of a call.
pub(super) struct Line {
    pub(super) call: Arc<str>,
    pub(super) step: &'static str,
    status: Option<u16>,
    result: &'static str,
    took: Duration,
    deadline: Duration,
    pub(super) problem: Option<String>,
}

impl Line {
    /// `problem` is what is wrong with the answer.
    pub(super) fn new(
        (call, step): (&Arc<str>, &'static str),
        delivered: &Delivered,
        result: &'static str,
        deadline: Duration,
        problem: Option<String>,
    ) -> Self {
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
        Self { call: Arc::clone(call), step, status: delivered.status, result, took, deadline, problem }
    }

    fn row(&self) -> Vec<String> {
        let status = self.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let problem = self.problem.as_ref().map_or_else(|| "ok".to_owned(), |problem| format!("WRONG: {problem}"));
        vec![
            self.call.to_string(),
            self.step.to_owned(),
            format!("{status} {}", self.result),
            format!("{:.1} ms", self.took.as_secs_f64() * 1000.0),
            format!("{} ms", self.deadline.as_millis()),
            problem,
        ]
    }

    pub(super) fn json(&self) -> Value {
        json!({ "call": &*self.call, "step": self.step, "status": self.status, "result": self.result,
            "took_ms": self.took.as_secs_f64() * 1000.0, "deadline_ms": u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX),
            "ok": self.problem.is_none(), "problem": self.problem })
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
    let rows = shown.into_iter().map(Line::row).collect();
    output::table(&["CALL", "REQUEST", "ANSWER", "TOOK", "DEADLINE", ""], rows, "")?;
    if more > 0 {
        output::line(format!("and {more} more requests; --json lists them"))?;
    }
    output::line("")
}

/// What an answer to an inbound request says, and what is wrong with it.
pub(super) fn inbound(body: &Bytes) -> (&'static str, Option<String>) {
    let Ok(read) = serde_json::from_slice::<Value>(body) else { return ("-", Some("it is no JSON".to_owned())) };
    match InboundAnswer::from_json(&read, InboundKind::Call) {
        Err(error) => ("-", Some(error.to_string())),
        // What was read leniently would make Retell drop the whole answer.
        Ok(answer) if !is_empty(&read) && !is_exactly(&answer, &read) => {
            ("-", Some("it holds what Retell's contract has not".to_owned()))
        }
        Ok(answer) if answer.is_rejected() => ("reject", None),
        Ok(answer) if answer == InboundAnswer::empty() => ("empty", None),
        Ok(_) => ("steers the call", None),
    }
}

fn is_empty(read: &Value) -> bool {
    read.as_object().is_some_and(Map::is_empty)
}

fn is_exactly(answer: &InboundAnswer, read: &Value) -> bool {
    serde_json::from_str::<Value>(&answer.to_json(InboundKind::Call)).is_ok_and(|written| written == *read)
}

/// What a function answered.
pub(super) struct Told {
    pub(super) fields: Map<String, Value>,
    pub(super) result: &'static str,
}

impl Told {
    pub(super) fn of(body: &Bytes) -> Self {
        let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let said = fields.get("result").and_then(Value::as_str);
        let result = said.and_then(|said| RESULTS.into_iter().find(|known| *known == said)).unwrap_or("-");
        Self { fields, result }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// The first time that is offered instead.
    pub(super) fn alternative(&self) -> Option<(String, String)> {
        let first = self.fields.get("alternatives")?.as_array()?.first()?;
        let text = |key: &str| Some(first.get(key)?.as_str()?.to_owned());
        Some((text("date")?, text("time")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &'static str) -> (&'static str, bool) {
        let (result, problem) = inbound(&Bytes::from_static(text.as_bytes()));
        (result, problem.is_none())
    }

    #[test]
    fn inbound_answers_are_held_against_the_contract() {
        assert_eq!(of("{}"), ("empty", true));
        assert_eq!(of(r#"{"call_inbound":{}}"#), ("empty", true));
        assert_eq!(of(r#"{"call_inbound":{"reject":true}}"#), ("reject", true));
        assert_eq!(of(r#"{"call_inbound":{"dynamic_variables":{"a":"b"}}}"#), ("steers the call", true));
        for bad in [
            "ok",
            r#"{"received":true}"#,
            r#"{"call_inbound":{"dynamic_variables":{"a":1}}}"#,
            r#"{"call_inbound":[]}"#,
        ] {
            assert_eq!(of(bad), ("-", false), "{bad}");
        }
    }

    #[test]
    fn of_an_answer_only_known_results_are_repeated() {
        let told = |text: &'static str| Told::of(&Bytes::from_static(text.as_bytes()));
        assert_eq!(told(r#"{"result":"booked"}"#).result, "booked");
        assert_eq!(told(r#"{"result":"Ada Lovelace"}"#).result, "-");
        let taken = told(r#"{"result":"unavailable","alternatives":[{"date":"2026-11-23","time":"09:00"}]}"#);
        assert_eq!(taken.alternative(), Some(("2026-11-23".to_owned(), "09:00".to_owned())));
    }
}
