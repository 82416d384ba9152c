//! The JSON line of one event.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Context;
use crate::storage::EventSummary;

/// The start of every line. It distinguishes the handler's own partial lines from text that other programs wrote.
pub(super) const LINE_PREFIX: &[u8] = b"{\"id\":\"evt_";

#[derive(Serialize)]
struct FileRecord<'a> {
    // Must be the first field, see `LINE_PREFIX`.
    id: String,
    company: &'a str,
    event: Option<&'a str>,
    call_id: Option<&'a str>,
    received_at_ms: i64,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision_of: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replay: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// The line with its line break. A JSON body is embedded as received, with every digit of its numbers.
pub(super) fn format_line(event: &EventSummary, body: &[u8], context: &Context) -> serde_json::Result<Vec<u8>> {
    let json = std::str::from_utf8(body).ok().and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
    let line = FileRecord {
        id: context.event_id.to_string(),
        company: &context.company,
        event: event.kind.as_deref(),
        call_id: event.call_id.as_deref(),
        received_at_ms: context.received_at_ms,
        attempt: context.attempt,
        revision_of: context.revision_of.map(|revised| revised.to_string()),
        replay: context.replay,
        body: json,
        body_base64: json.is_none().then(|| BASE64_STANDARD.encode(body)),
    };
    let mut line = serde_json::to_vec(&line)?;
    // Line breaks inside JSON strings are escaped, so these are whitespace between tokens, and a space means the same.
    for byte in &mut line {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    Ok(line)
}
