//! One row per call or chat, merged from all of its events.

use async_trait::async_trait;
use bytes::Bytes;

use super::{AttemptResult, Context, EventHandler, Outcome};
use crate::calls::{CallKind, CallRecord, CallStage, E2eLatency, TransferKind};
use crate::event::{Call, Chat, Event, JsonNumber, LatencyStats, RawJson, valid_json};
use crate::privacy::number_spelling;
use crate::storage::{EventSummary, sanitize_text, sanitize_text_to};

/// Longest summary that is stored, in bytes.
const MAX_SUMMARY_BYTES: usize = 8 * 1024;
/// Ends a summary that was truncated.
const TRUNCATION_MARK: &str = " […]";
/// Longest custom analysis data that is stored, in bytes of JSON.
const MAX_CUSTOM_DATA_BYTES: usize = 16 * 1024;

/// Fills the tables behind the commands `calls` and `chats`.
pub(crate) struct CallStoreHandler;

#[async_trait]
impl EventHandler for CallStoreHandler {
    /// Does not write itself: the row of the call changes in the transaction that settles the delivery.
    async fn deliver(&self, _: &EventSummary, body: &Bytes, context: &Context) -> AttemptResult {
        let Ok(event) = Event::parse(body) else { return Outcome::not_handled().into() };
        match call_record(&event, context) {
            Some(record) => AttemptResult { call: Some(Box::new(record)), ..Outcome::Done.into() },
            None => Outcome::skip("no row: the event has no id of a call or chat").into(),
        }
    }
}

/// The row that `event` contributes to its call or chat; `None` when it has no call or chat id.
fn call_record(event: &Event, context: &Context) -> Option<CallRecord> {
    let new = |kind, id: Option<&String>| {
        let id = sanitize_text(id.cloned()).filter(|id| !id.is_empty())?;
        let stage = call_stage(event);
        Some(CallRecord::new(kind, context.company_id, &context.company, &id, stage, context.received_at_ms))
    };
    if let Some(call) = event.call() {
        let mut record = new(CallKind::Call, call.call_id.as_ref())?;
        fill_from_call(&mut record, call);
        if let Some(transfer) = transfer_event(event) {
            // Keyed by event, so that a repeated delivery does not count a transfer twice.
            record.transfers.insert(context.event_id.to_string(), transfer);
        }
        return Some(record);
    }
    let chat = event.chat()?;
    let mut record = new(CallKind::Chat, chat.chat_id.as_ref())?;
    fill_from_chat(&mut record, chat);
    Some(record)
}

fn call_stage(event: &Event) -> CallStage {
    match event {
        Event::CallStarted(_) | Event::ChatStarted(_) => CallStage::Started,
        Event::CallEnded(_) | Event::ChatEnded(_) => CallStage::Ended,
        Event::CallAnalyzed(_) | Event::ChatAnalyzed(_) => CallStage::Analyzed,
        _ => CallStage::Underway,
    }
}

fn transfer_event(event: &Event) -> Option<TransferKind> {
    match event {
        Event::TransferStarted(_) => Some(TransferKind::Started),
        Event::TransferBridged(_) => Some(TransferKind::Bridged),
        Event::TransferCancelled(_) => Some(TransferKind::Cancelled),
        Event::TransferEnded(_) => Some(TransferKind::Ended),
        _ => None,
    }
}

fn fill_from_call(record: &mut CallRecord, call: &Call) {
    record.call_type = to_bounded_text(call.call_type.as_ref());
    record.direction = to_bounded_text(call.direction.as_ref());
    record.agent_id = to_bounded_text(call.agent_id.as_ref());
    record.agent_name = to_bounded_text(call.agent_name.as_ref());
    record.agent_version = call.agent_version;
    let to_number = |number: &String| number_spelling::to_e164(number);
    record.from_number = to_bounded_text(call.from_number.as_ref().map(to_number).as_ref());
    record.to_number = to_bounded_text(call.to_number.as_ref().map(to_number).as_ref());
    record.call_status = to_bounded_text(call.call_status.as_ref());
    record.started_at_ms = call.start_timestamp;
    record.ended_at_ms = call.end_timestamp;
    record.duration_ms = call.duration_ms;
    record.disconnection_reason = to_bounded_text(call.disconnection_reason.as_ref());
    record.cost_cents = to_bounded_text(call.call_cost.as_ref().and_then(|cost| cost.combined_cost.as_ref()));
    record.latency_e2e = e2e_latency(call);
    record.has_recording = has_recording(call);
    if let Some(analysis) = &call.call_analysis {
        record.in_voicemail = analysis.in_voicemail;
        record.user_sentiment = to_bounded_text(analysis.user_sentiment.as_ref());
        record.call_successful = analysis.call_successful;
        record.summary = truncate_summary(analysis.call_summary.as_ref());
        record.custom_analysis_data = limit_custom_data(analysis.custom_analysis_data.as_ref());
    }
}

fn fill_from_chat(record: &mut CallRecord, chat: &Chat) {
    record.call_type = to_bounded_text(chat.chat_type.as_ref());
    record.agent_id = to_bounded_text(chat.agent_id.as_ref());
    record.agent_version = chat.version;
    record.call_status = to_bounded_text(chat.chat_status.as_ref());
    record.started_at_ms = chat.start_timestamp;
    record.ended_at_ms = chat.end_timestamp;
    // A chat object has no duration field.
    if let (Some(end), Some(start)) = (chat.end_timestamp, chat.start_timestamp) {
        record.duration_ms = end.checked_sub(start).filter(|ms| *ms >= 0);
    }
    record.cost_cents = to_bounded_text(chat.chat_cost.as_ref().and_then(|cost| cost.combined_cost.as_ref()));
    if let Some(analysis) = &chat.chat_analysis {
        record.user_sentiment = to_bounded_text(analysis.user_sentiment.as_ref());
        record.call_successful = analysis.chat_successful;
        record.summary = truncate_summary(analysis.chat_summary.as_ref());
        record.custom_analysis_data = limit_custom_data(analysis.custom_analysis_data.as_ref());
    }
}

/// A value of the body as a bounded text column.
fn to_bounded_text(value: Option<&impl ToString>) -> Option<String> {
    sanitize_text(value.map(ToString::to_string))
}

fn e2e_latency(call: &Call) -> Option<E2eLatency> {
    let e2e: LatencyStats = call.latency.as_ref()?.parse().ok()?.e2e?;
    let [p50_ms, p90_ms, p99_ms] = [e2e.p50, e2e.p90, e2e.p99].map(|ms| ms.as_ref().and_then(round_to_i64));
    let latency = E2eLatency { p50_ms, p90_ms, p99_ms };
    (latency != E2eLatency::default()).then_some(latency)
}

/// Rounds to milliseconds; `None` for absurd numbers such as 1e300, which would overflow the column.
#[allow(clippy::cast_possible_truncation, reason = "the absolute value is below 1e12")]
fn round_to_i64(number: &JsonNumber) -> Option<i64> {
    number.as_f64().filter(|ms| ms.abs() < 1e12).map(|ms| ms.round() as i64)
}

fn has_recording(call: &Call) -> Option<bool> {
    let urls = [
        &call.recording_url,
        &call.recording_multi_channel_url,
        &call.scrubbed_recording_url,
        &call.scrubbed_recording_multi_channel_url,
    ];
    urls.iter().any(|url| url.as_ref().is_some_and(|url| !url.is_empty())).then_some(true)
}

/// At most [`MAX_SUMMARY_BYTES`] bytes; a truncated summary ends with [`TRUNCATION_MARK`].
fn truncate_summary(text: Option<&String>) -> Option<String> {
    let text = text.filter(|text| !text.is_empty())?;
    if text.len() <= MAX_SUMMARY_BYTES {
        return sanitize_text_to(Some(text.clone()), MAX_SUMMARY_BYTES);
    }
    let cut = text.floor_char_boundary(MAX_SUMMARY_BYTES - TRUNCATION_MARK.len());
    sanitize_text_to(Some([&text[..cut], TRUNCATION_MARK].concat()), MAX_SUMMARY_BYTES)
}

/// The JSON as received, or `{"omitted_bytes":N}` when it is too large.
fn limit_custom_data(data: Option<&RawJson>) -> Option<String> {
    let json = data.map(RawJson::as_str).filter(|json| *json != "null")?;
    if json.len() > MAX_CUSTOM_DATA_BYTES {
        return Some(format!("{{\"omitted_bytes\":{}}}", json.len()));
    }
    sanitize_text_to(Some(valid_json(json.as_bytes()).into_owned()), MAX_CUSTOM_DATA_BYTES)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::base::id::CompanyId;
    use crate::base::id::EventIdGenerator;
    use crate::event::{EventKind, sample_body};

    fn record_of_body(body: &str) -> Option<CallRecord> {
        let context =
            Context::new(EventIdGenerator::default().next_id(1), (CompanyId::new(1), "default"), 1_790_000_000_000);
        call_record(&Event::parse(body.as_bytes()).unwrap(), &context)
    }

    fn record_of_analysis(analysis: &Value) -> CallRecord {
        record_of_body(
            &json!({"event": "call_analyzed", "call": {"call_id": "c", "call_analysis": analysis}}).to_string(),
        )
        .unwrap()
    }

    #[test]
    fn a_call_fills_every_column() {
        let call = record_of_body(&sample_body(EventKind::CallAnalyzed, "call_1", 1_790_000_000_000).unwrap()).unwrap();
        assert_eq!((call.kind, call.call_id.as_str(), call.stage), (CallKind::Call, "call_1", CallStage::Analyzed));
        let latency = E2eLatency { p50_ms: Some(905), p90_ms: Some(1180), p99_ms: Some(1180) };
        assert_eq!((call.latency_e2e, call.has_recording, call.in_voicemail), (Some(latency), Some(true), Some(false)));
        assert_eq!((call.cost_cents.as_deref(), call.agent_version), (Some("3.501"), Some(4)));
        assert!(call.summary.unwrap().starts_with("The caller ordered"));
        assert_eq!(call.custom_analysis_data.as_deref(), Some(r#"{"items":2,"product":"rye loaf"}"#));
    }

    #[test]
    fn a_chat_fills_its_columns() {
        let chat = record_of_body(&sample_body(EventKind::ChatAnalyzed, "chat_1", 1_790_000_000_000).unwrap()).unwrap();
        assert_eq!((chat.kind, chat.call_id.as_str(), chat.stage), (CallKind::Chat, "chat_1", CallStage::Analyzed));
        assert_eq!((chat.call_type.as_deref(), chat.call_status.as_deref()), (Some("sms_chat"), Some("ended")));
        assert_eq!((chat.duration_ms, chat.cost_cents.as_deref()), (Some(30_280), Some("0.8")));
        assert_eq!((chat.call_successful, chat.agent_version), (Some(true), Some(2)));
        assert_eq!(chat.summary.as_deref(), Some("Asked about Sunday's hours."));
        let updated = record_of_body(r#"{"event":"transcript_updated","chat":{"chat_id":"h"}}"#).unwrap();
        assert_eq!((updated.kind, updated.stage), (CallKind::Chat, CallStage::Underway));
    }

    #[test]
    fn events_without_call_or_chat_make_no_row() {
        for body in [
            r#"{"event":"chat_started","chat":{}}"#,
            r#"{"event":"call_ended","call":{"call_id":""}}"#,
            r#"{"event":"alert_triggered","alert":{"alert_incident_id":"a"}}"#,
            r#"{"event":"something_new"}"#,
        ] {
            assert!(record_of_body(body).is_none(), "{body}");
        }
    }

    #[test]
    fn texts_are_bounded_and_without_nul() {
        let long = record_of_analysis(
            &json!({"call_summary": "é".repeat(5000), "custom_analysis_data": {"a": "x".repeat(20_000)}}),
        );
        let summary = long.summary.unwrap();
        assert!(
            summary.len() <= MAX_SUMMARY_BYTES && summary.len() > MAX_SUMMARY_BYTES - 8 && summary.ends_with("é […]"),
            "{}",
            summary.len()
        );
        assert_eq!(long.custom_analysis_data.as_deref(), Some(r#"{"omitted_bytes":20008}"#));
        let odd = record_of_analysis(&json!({"call_summary": "a\u{0}b", "custom_analysis_data": null}));
        assert_eq!((odd.summary.as_deref(), odd.custom_analysis_data), (Some("ab"), None));
        let empty = record_of_analysis(&json!({"call_summary": "", "custom_analysis_data": {"n": "\u{0}"}}));
        assert_eq!((empty.summary, empty.custom_analysis_data.as_deref()), (None, Some("{\"n\":\"\\u0000\"}")));
    }

    #[test]
    fn absurd_latencies_are_left_out() {
        let call = r#"{"event":"call_ended","call":{"call_id":"c","latency":{"e2e":{"p50":1e300,"p90":12.5}}}}"#;
        let latency = record_of_body(call).unwrap().latency_e2e.unwrap();
        assert_eq!((latency.p50_ms, latency.p90_ms), (None, Some(13)));
        let none = r#"{"event":"call_ended","call":{"call_id":"c","latency":[1]}}"#;
        assert_eq!(record_of_body(none).unwrap().latency_e2e, None);
    }

    #[test]
    fn debug_output_has_no_personal_data() {
        let call = record_of_body(&sample_body(EventKind::CallAnalyzed, "call_1", 1_790_000_000_000).unwrap()).unwrap();
        let shown = format!("{call:?} {}", serde_json::to_string(&call).unwrap());
        for personal in ["rye", "+1202", "ordered"] {
            assert!(!shown.contains(personal), "{shown}");
        }
    }
}
