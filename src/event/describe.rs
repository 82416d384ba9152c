//! What is in a body, told without telling what anybody said: for logs of people who debug.

use std::fmt::Write;

use serde_json::value::RawValue;

use super::from_json::FromJson;
use super::kind::EventKind;
use super::raw_fields::{RawFields, body_as_str};

/// Objects of a body whose members are told one by one.
const EXPANDED_OBJECTS: [&str; 6] = ["call", "data", "chat", "call_inbound", "chat_inbound", "alert"];
/// Opaque ids.
const ID_FIELDS: [&str; 4] = ["call_id", "chat_id", "agent_id", "alert_incident_id"];
/// Values from the contract's lists.
const ENUM_FIELDS: [&str; 6] =
    ["call_status", "call_type", "chat_status", "chat_type", "direction", "disconnection_reason"];
/// Times and durations in milliseconds.
const TIME_FIELDS: [&str; 7] = [
    "duration_ms",
    "start_timestamp",
    "end_timestamp",
    "transfer_end_timestamp",
    "event_timestamp",
    "triggered_timestamp",
    "resolved_timestamp",
];
/// Most members told of an object, and the longest name or id shown.
const MAX_FIELDS: usize = 96;
const MAX_TEXT_LENGTH: usize = 64;

/// The event's name if it is a known one, then every field with its type and size, and the values of those that are known to
/// hold nothing about people: ids, states, reasons, times. Everything else, and whatever does not look the way such a
/// value does, is told by type and size only. Bounded.
///
/// ```
/// let body = br#"{"event":"call_ended","call":{"call_id":"call_1","from_number":"+12025550143","duration_ms":90}}"#;
/// assert_eq!(
///     retell_webhook::event::describe(body),
///     "call_ended {event: string of 10 bytes, call: {call_id: call_1, from_number: string of 12 bytes, duration_ms: 90}}"
/// );
/// ```
#[must_use]
pub fn describe(body: &[u8]) -> String {
    let fields = match body_as_str(body).and_then(RawFields::parse_body) {
        Ok(fields) => fields,
        Err(unparsed) => return format!("{} bytes that are no event: {unparsed}", body.len()),
    };
    let name = fields.get_last("event").and_then(String::from_json);
    let kind = name.as_deref().map(EventKind::from_name);
    let known = kind.map_or("without an event name", |kind| match kind {
        EventKind::Unknown => "unknown event",
        known => known.as_str(),
    });
    format!("{known} {}", format_fields(&fields, true))
}

/// `{name: value, …}`; with `open` the members of the objects an event is about are told as well.
fn format_fields(fields: &RawFields<'_>, open: bool) -> String {
    let mut text = String::from("{");
    for (position, (name, raw)) in fields.0.iter().take(MAX_FIELDS).enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        let inner = if open && EXPANDED_OBJECTS.contains(&name.as_ref()) { RawFields::parse_value(raw) } else { None };
        let value = inner.map_or_else(|| format_value(name, raw), |inner| format_fields(&inner, false));
        // Writing into a text cannot fail.
        let _ = write!(text, "{separator}{}: {value}", format_field_name(name));
    }
    if fields.0.len() > MAX_FIELDS {
        let _ = write!(text, ", and {} more", fields.0.len() - MAX_FIELDS);
    }
    text + "}"
}

fn format_value(name: &str, raw: &RawValue) -> String {
    let is_shown = |text: &String| {
        (ID_FIELDS.contains(&name) && is_id(text)) || (ENUM_FIELDS.contains(&name) && is_enum_value(text))
    };
    let text = String::from_json(raw).filter(is_shown);
    let time = || i64::from_json(raw).filter(|_| TIME_FIELDS.contains(&name)).map(|time| time.to_string());
    text.or_else(time).unwrap_or_else(|| format_type_and_size(raw))
}

/// Type and size of a value.
fn format_type_and_size(raw: &RawValue) -> String {
    let json = raw.get();
    match json.as_bytes().first() {
        Some(b'"') => format!("string of {} bytes", json.len() - 2),
        Some(b'{') => format!("object of {} bytes", json.len()),
        Some(b'[') => format!("array of {} bytes", json.len()),
        Some(b'n') => "null".to_owned(),
        Some(b't' | b'f') => "boolean".to_owned(),
        _ => format!("number of {} bytes", json.len()),
    }
}

/// A name as contracts have them. Anything else may be data that ended up as a key.
fn format_field_name(name: &str) -> String {
    let plain = name.len() <= MAX_TEXT_LENGTH && name.starts_with(|c: char| c.is_ascii_lowercase());
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    if plain && digits < 4 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        name.to_owned()
    } else {
        format!("(a name of {} bytes)", name.len())
    }
}

/// Letters, digits, `_` and `-`, with a letter in front: a phone number is none.
fn is_id(text: &str) -> bool {
    text.len() <= MAX_TEXT_LENGTH
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn is_enum_value(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TEXT_LENGTH && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::sample_body;

    #[test]
    fn values_that_could_be_about_people_are_told_by_size() {
        let body = r#"{"event":"call_analyzed","event_timestamp":1790000000000,"call":{"call_id":"call_1","agent_id":"agent_a-1",
            "call_status":"ended","call_type":"phone_call","direction":"inbound","disconnection_reason":"user_hangup",
            "duration_ms":1200,"from_number":"+12025550143","transcript":"Agent: Hi","metadata":{"note":"Robin"},
            "access_token":"t0ken","recording_url":"https://example.com/r","start_timestamp":7,"opt_in":true,"x":null,
            "transcript_object":[1]},"transfer_destination":{"number":"+12025550166"}}"#;
        let told = describe(body.as_bytes());
        assert_eq!(
            told,
            "call_analyzed {event: string of 13 bytes, event_timestamp: 1790000000000, call: {call_id: call_1, \
             agent_id: agent_a-1, call_status: ended, call_type: phone_call, direction: inbound, \
             disconnection_reason: user_hangup, duration_ms: 1200, from_number: string of 12 bytes, \
             transcript: string of 9 bytes, metadata: object of 16 bytes, access_token: string of 5 bytes, \
             recording_url: string of 21 bytes, start_timestamp: 7, opt_in: boolean, x: null, \
             transcript_object: array of 3 bytes}, transfer_destination: object of 25 bytes}"
        );
    }

    #[test]
    fn odd_values_and_names_are_not_shown() {
        let body = r#"{"event":"my card ends in 42","call":{"call_id":"+12025550143","agent_id":"12025550143",
            "call_status":"Robin said so","direction":7,"duration_ms":"+12025550143","+12025550143":1,"n12025550143":2,
            "start_timestamp":1.5}}"#;
        let told = describe(body.as_bytes());
        assert!(
            told.starts_with("unknown event {event: string of 18 bytes, call: {call_id: string of 12 bytes, "),
            "{told}"
        );
        for secret in ["card", "2025550143", "Robin"] {
            assert!(!told.contains(secret), "{told}");
        }
        assert!(told.contains("(a name of 12 bytes): number of 1 bytes"), "{told}");
        assert!(told.contains("start_timestamp: number of 3 bytes"), "{told}");
    }

    #[test]
    fn every_sample_is_told_without_its_people() {
        for kind in EventKind::ALL {
            let body = sample_body(kind, "call_sample", 1_790_000_000_000).unwrap();
            let told = describe(body.as_bytes());
            assert!(told.starts_with(kind.as_str()), "{told}");
            for secret in ["2025550", "Robin", "harbour", "rye", "example.com", "Sunday"] {
                assert!(!told.contains(secret), "{secret} in {told}");
            }
        }
    }

    #[test]
    fn what_is_no_object_is_told_by_size_and_the_text_is_bounded() {
        assert!(describe(b"[1]").starts_with("3 bytes that are no event"), "{}", describe(b"[1]"));
        assert!(describe(b"\xff").starts_with("1 bytes that are no event"));
        assert_eq!(describe(b"{}"), "without an event name {}");
        let many: Vec<_> = (0..100_000).map(|n| format!("\"{n}\":{n}")).collect();
        let told = describe(format!("{{{}}}", many.join(",")).as_bytes());
        assert!(told.len() < 5_000 && told.ends_with(", and 99904 more}"), "{}", told.len());
    }
}
