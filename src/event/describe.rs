//! Describes the structure of a body without revealing its content, for debug logs.

use std::fmt::Write;

use serde_json::value::RawValue;

use super::json::from_json::FromJson;
use super::json::raw_fields::{RawFields, body_as_str};
use super::kind::EventKind;

/// Objects of a body whose members are listed one by one.
const EXPANDED_OBJECTS: [&str; 6] = ["call", "data", "chat", "call_inbound", "chat_inbound", "alert"];
/// Fields that hold opaque ids.
const ID_FIELDS: [&str; 4] = ["call_id", "chat_id", "agent_id", "alert_incident_id"];
/// Fields whose values come from fixed lists of the contract.
const ENUM_FIELDS: [&str; 6] =
    ["call_status", "call_type", "chat_status", "chat_type", "direction", "disconnection_reason"];
/// Fields that hold times or durations in milliseconds.
const TIME_FIELDS: [&str; 7] = [
    "duration_ms",
    "start_timestamp",
    "end_timestamp",
    "transfer_end_timestamp",
    "event_timestamp",
    "triggered_timestamp",
    "resolved_timestamp",
];
/// Number of members that are listed per object.
const MAX_FIELDS: usize = 96;
/// Longest name or id that is shown, in bytes.
const MAX_TEXT_LENGTH: usize = 64;

/// The structure of a body: the event name if it is a known one, then every field with type and size. Values are
/// shown only for fields that contain nothing about people: ids, states, reasons and times. All other values, and
/// those that do not have the expected form, are described by type and size. The length of the result is bounded.
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
        Err(error) => return format!("{} bytes that are not an event: {error}", body.len()),
    };
    let name = fields.get_last("event").and_then(String::from_json);
    let kind = name.as_deref().map(EventKind::from_name);
    let label = kind.map_or("without an event name", |kind| match kind {
        EventKind::Unknown => "unknown event",
        known => known.as_str(),
    });
    format!("{label} {}", format_fields(&fields, true))
}

/// `{name: value, …}`. With `expand_objects`, the members of the objects that an event is about are listed as well.
fn format_fields(fields: &RawFields<'_>, expand_objects: bool) -> String {
    let mut text = String::from("{");
    for (position, (name, raw)) in fields.0.iter().take(MAX_FIELDS).enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        let is_expanded = expand_objects && EXPANDED_OBJECTS.contains(&name.as_ref());
        let members = if is_expanded { RawFields::parse_value(raw) } else { None };
        let value = match members {
            Some(members) => format_fields(&members, false),
            None => format_value(name, raw),
        };
        // Writing into a string cannot fail.
        let _ = write!(text, "{separator}{}: {value}", format_field_name(name));
    }
    if fields.0.len() > MAX_FIELDS {
        let _ = write!(text, ", and {} more", fields.0.len() - MAX_FIELDS);
    }
    text + "}"
}

fn format_value(name: &str, raw: &RawValue) -> String {
    // The form is checked as well as the name: a sender may put personal data into a field that should hold an id.
    if let Some(text) = String::from_json(raw)
        && ((ID_FIELDS.contains(&name) && is_id(&text)) || (ENUM_FIELDS.contains(&name) && is_enum_value(&text)))
    {
        return text;
    }
    if TIME_FIELDS.contains(&name)
        && let Some(time) = i64::from_json(raw)
    {
        return time.to_string();
    }
    format_type_and_size(raw)
}

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

/// Shows a name that looks like a field of the contract. Any other key may be personal data.
fn format_field_name(name: &str) -> String {
    let has_plain_start = name.len() <= MAX_TEXT_LENGTH && name.starts_with(|c: char| c.is_ascii_lowercase());
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    // Four digits or more may be a part of a phone number.
    if has_plain_start && digits < 4 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    {
        name.to_owned()
    } else {
        format!("(a name of {} bytes)", name.len())
    }
}

/// Letters, digits, `_` and `-`, beginning with a letter, so that a phone number is not shown.
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
    fn values_that_may_be_personal_are_described_by_size() {
        let body = r#"{"event":"call_analyzed","event_timestamp":1790000000000,"call":{"call_id":"call_1","agent_id":"agent_a-1",
            "call_status":"ended","call_type":"phone_call","direction":"inbound","disconnection_reason":"user_hangup",
            "duration_ms":1200,"from_number":"+12025550143","transcript":"Agent: Hi","metadata":{"note":"Robin"},
            "access_token":"t0ken","recording_url":"https://example.com/r","start_timestamp":7,"opt_in":true,"x":null,
            "transcript_object":[1]},"transfer_destination":{"number":"+12025550166"}}"#;
        let text = describe(body.as_bytes());
        assert_eq!(
            text,
            "call_analyzed {event: string of 13 bytes, event_timestamp: 1790000000000, call: {call_id: call_1, \
             agent_id: agent_a-1, call_status: ended, call_type: phone_call, direction: inbound, \
             disconnection_reason: user_hangup, duration_ms: 1200, from_number: string of 12 bytes, \
             transcript: string of 9 bytes, metadata: object of 16 bytes, access_token: string of 5 bytes, \
             recording_url: string of 21 bytes, start_timestamp: 7, opt_in: boolean, x: null, \
             transcript_object: array of 3 bytes}, transfer_destination: object of 25 bytes}"
        );
    }

    #[test]
    fn unexpected_values_and_names_are_not_shown() {
        let body = r#"{"event":"my card ends in 42","call":{"call_id":"+12025550143","agent_id":"12025550143",
            "call_status":"Robin said so","direction":7,"duration_ms":"+12025550143","+12025550143":1,"n12025550143":2,
            "start_timestamp":1.5}}"#;
        let text = describe(body.as_bytes());
        assert!(
            text.starts_with("unknown event {event: string of 18 bytes, call: {call_id: string of 12 bytes, "),
            "{text}"
        );
        for secret in ["card", "2025550143", "Robin"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains("(a name of 12 bytes): number of 1 bytes"), "{text}");
        assert!(text.contains("start_timestamp: number of 3 bytes"), "{text}");
    }

    #[test]
    fn descriptions_of_samples_contain_no_personal_data() {
        for kind in EventKind::ALL {
            let body = sample_body(kind, "call_sample", 1_790_000_000_000).unwrap();
            let text = describe(body.as_bytes());
            assert!(text.starts_with(kind.as_str()), "{text}");
            for secret in ["2025550", "Robin", "harbour", "rye", "example.com", "Sunday"] {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
    }

    #[test]
    fn a_body_that_is_not_an_object_is_described_by_size_and_the_text_is_bounded() {
        assert!(describe(b"[1]").starts_with("3 bytes that are not an event"), "{}", describe(b"[1]"));
        assert!(describe(b"\xff").starts_with("1 bytes that are not an event"));
        assert_eq!(describe(b"{}"), "without an event name {}");
        let many: Vec<_> = (0..100_000).map(|n| format!("\"{n}\":{n}")).collect();
        let text = describe(format!("{{{}}}", many.join(",")).as_bytes());
        assert!(text.len() < 5_000 && text.ends_with(", and 99904 more}"), "{}", text.len());
    }
}
