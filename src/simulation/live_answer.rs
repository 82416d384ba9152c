//! Checks the answers to live requests: inbound requests and custom functions.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::config::InboundKind;
use crate::live::inbound::InboundAnswer;

const KNOWN_RESULTS: [&str; 7] = ["booked", "changed", "cancelled", "unavailable", "invalid", "not_found", "failed"];

/// The kind of an answer to an inbound request, and the problem when it is not valid.
pub(super) fn check_inbound_answer(body: &Bytes) -> (&'static str, Option<String>) {
    let Ok(json) = serde_json::from_slice::<Value>(body) else {
        return ("-", Some("the answer is not JSON".to_owned()));
    };
    match InboundAnswer::from_json(&json, InboundKind::Call) {
        Err(error) => ("-", Some(error.to_string())),
        // The parser is lenient, but Retell drops the whole answer when one field is not in its contract.
        Ok(answer) if !is_empty_object(&json) && !round_trips(&answer, &json) => {
            ("-", Some("the answer has fields that are not in Retell's contract".to_owned()))
        }
        Ok(answer) if answer.is_rejected() => ("reject", None),
        Ok(answer) if answer == InboundAnswer::empty() => ("empty", None),
        Ok(_) => ("override", None),
    }
}

fn is_empty_object(json: &Value) -> bool {
    json.as_object().is_some_and(Map::is_empty)
}

fn round_trips(answer: &InboundAnswer, json: &Value) -> bool {
    serde_json::from_str::<Value>(&answer.to_json(InboundKind::Call)).is_ok_and(|written| written == *json)
}

/// The answer of an appointment function.
pub(super) struct ParsedFunctionAnswer {
    pub(super) fields: Map<String, Value>,
    pub(super) result: &'static str,
}

impl ParsedFunctionAnswer {
    pub(super) fn parse(body: &Bytes) -> Self {
        let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let result = fields.get("result").and_then(Value::as_str).unwrap_or_default();
        // Unknown results are not repeated in the report: they may contain personal data.
        let result = KNOWN_RESULTS.into_iter().find(|known| *known == result).unwrap_or("-");
        Self { fields, result }
    }

    pub(super) fn non_empty_text(&self, key: &str) -> Option<&str> {
        self.fields.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// Date and time of the first alternative that is offered.
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
    fn inbound_answers_are_checked_against_the_contract() {
        assert_eq!(check_answer("{}"), ("empty", true));
        assert_eq!(check_answer(r#"{"call_inbound":{}}"#), ("empty", true));
        assert_eq!(check_answer(r#"{"call_inbound":{"reject":true}}"#), ("reject", true));
        assert_eq!(check_answer(r#"{"call_inbound":{"dynamic_variables":{"a":"b"}}}"#), ("override", true));
        for invalid in [
            "ok",
            r#"{"received":true}"#,
            r#"{"call_inbound":{"dynamic_variables":{"a":1}}}"#,
            r#"{"call_inbound":[]}"#,
        ] {
            assert_eq!(check_answer(invalid), ("-", false), "{invalid}");
        }
    }

    #[test]
    fn unknown_results_are_not_repeated() {
        let parse = |text: &'static str| ParsedFunctionAnswer::parse(&Bytes::from_static(text.as_bytes()));
        assert_eq!(parse(r#"{"result":"booked"}"#).result, "booked");
        assert_eq!(parse(r#"{"result":"Ada Lovelace"}"#).result, "-");
        let unavailable = parse(r#"{"result":"unavailable","alternatives":[{"date":"2026-11-23","time":"09:00"}]}"#);
        assert_eq!(unavailable.first_alternative(), Some(("2026-11-23".to_owned(), "09:00".to_owned())));
    }
}
