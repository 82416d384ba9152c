//! Answers that somebody on the line waits for: what they say, and whether that is right.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::config::InboundKind;
use crate::live::inbound::InboundAnswer;

const KNOWN_RESULTS: [&str; 7] = ["booked", "changed", "cancelled", "unavailable", "invalid", "not_found", "failed"];

/// What an answer to an inbound request says, and what is wrong with it.
pub(super) fn check_inbound_answer(body: &Bytes) -> (&'static str, Option<String>) {
    let Ok(read) = serde_json::from_slice::<Value>(body) else { return ("-", Some("it is no JSON".to_owned())) };
    match InboundAnswer::from_json(&read, InboundKind::Call) {
        Err(error) => ("-", Some(error.to_string())),
        // What was read leniently would make Retell drop the whole answer.
        Ok(answer) if !is_empty_object(&read) && !round_trips(&answer, &read) => {
            ("-", Some("it holds what Retell's contract has not".to_owned()))
        }
        Ok(answer) if answer.is_rejected() => ("reject", None),
        Ok(answer) if answer == InboundAnswer::empty() => ("empty", None),
        Ok(_) => ("steers the call", None),
    }
}

fn is_empty_object(read: &Value) -> bool {
    read.as_object().is_some_and(Map::is_empty)
}

fn round_trips(answer: &InboundAnswer, read: &Value) -> bool {
    serde_json::from_str::<Value>(&answer.to_json(InboundKind::Call)).is_ok_and(|written| written == *read)
}

/// What a function answered.
pub(super) struct ParsedFunctionAnswer {
    pub(super) fields: Map<String, Value>,
    pub(super) result: &'static str,
}

impl ParsedFunctionAnswer {
    pub(super) fn parse(body: &Bytes) -> Self {
        let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let said = fields.get("result").and_then(Value::as_str);
        let result = said.and_then(|said| KNOWN_RESULTS.into_iter().find(|known| *known == said)).unwrap_or("-");
        Self { fields, result }
    }

    pub(super) fn non_empty_text(&self, key: &str) -> Option<&str> {
        self.fields.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// The first time that is offered instead.
    pub(super) fn first_alternative(&self) -> Option<(String, String)> {
        let first = self.fields.get("alternatives")?.as_array()?.first()?;
        let text = |key: &str| Some(first.get(key)?.as_str()?.to_owned());
        Some((text("date")?, text("time")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_answer(text: &'static str) -> (&'static str, bool) {
        let (result, problem) = check_inbound_answer(&Bytes::from_static(text.as_bytes()));
        (result, problem.is_none())
    }

    #[test]
    fn inbound_answers_are_held_against_the_contract() {
        assert_eq!(check_answer("{}"), ("empty", true));
        assert_eq!(check_answer(r#"{"call_inbound":{}}"#), ("empty", true));
        assert_eq!(check_answer(r#"{"call_inbound":{"reject":true}}"#), ("reject", true));
        assert_eq!(check_answer(r#"{"call_inbound":{"dynamic_variables":{"a":"b"}}}"#), ("steers the call", true));
        for bad in [
            "ok",
            r#"{"received":true}"#,
            r#"{"call_inbound":{"dynamic_variables":{"a":1}}}"#,
            r#"{"call_inbound":[]}"#,
        ] {
            assert_eq!(check_answer(bad), ("-", false), "{bad}");
        }
    }

    #[test]
    fn of_an_answer_only_known_results_are_repeated() {
        let told = |text: &'static str| ParsedFunctionAnswer::parse(&Bytes::from_static(text.as_bytes()));
        assert_eq!(told(r#"{"result":"booked"}"#).result, "booked");
        assert_eq!(told(r#"{"result":"Ada Lovelace"}"#).result, "-");
        let taken = told(r#"{"result":"unavailable","alternatives":[{"date":"2026-11-23","time":"09:00"}]}"#);
        assert_eq!(taken.first_alternative(), Some(("2026-11-23".to_owned(), "09:00".to_owned())));
    }
}
