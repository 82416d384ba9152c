//! Writes one readable log line per event.

use async_trait::async_trait;

use super::{Context, EventHandler, Outcome};
use crate::base::escape::escape_text;
use crate::event::{Call, Event};

/// Logs one line per event: what happened to which call, without phone numbers or the caller's words.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogHandler;

#[async_trait]
impl EventHandler for LogHandler {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        let ids = event.identifiers();
        let call_id = ids.call_id.as_deref().or(ids.chat_id.as_deref()).map(short_text);
        let fields = CallFields::new(event.call());
        tracing::info!(
            event = %safe_event_name(event.name()),
            call_id = call_id.as_deref(),
            event_id = %context.event_id,
            revision_of = context.revision_of.map(tracing::field::display),
            direction = fields.direction.as_deref(),
            agent = fields.agent.as_deref(),
            duration_ms = fields.duration_ms,
            disconnection_reason = fields.disconnection_reason.as_deref(),
            sentiment = fields.sentiment.as_deref(),
            successful = fields.successful,
            "webhook event",
        );
        Outcome::Done
    }

    async fn unparsed(&self, body: &[u8], context: &Context) -> Outcome {
        tracing::warn!(event_id = %context.event_id, size_bytes = body.len(), "webhook event unparsed");
        Outcome::Done
    }
}

/// What is logged about a call. Everything that a caller says or can be reached at is left out.
#[derive(Debug, Default, PartialEq)]
struct CallFields {
    direction: Option<String>,
    agent: Option<String>,
    duration_ms: Option<i64>,
    disconnection_reason: Option<String>,
    sentiment: Option<String>,
    successful: Option<bool>,
}

impl CallFields {
    fn new(call: Option<&Call>) -> Self {
        let Some(call) = call else { return Self::default() };
        let analysis = call.call_analysis.as_ref();
        let sentiment = analysis.and_then(|analysis| analysis.user_sentiment.as_ref());
        Self {
            direction: call.direction.as_ref().map(|direction| short_text(direction.as_str())),
            agent: call.agent_name.as_deref().map(short_text),
            duration_ms: call.duration_ms,
            disconnection_reason: call.disconnection_reason.as_ref().map(|reason| short_text(reason.as_str())),
            sentiment: sentiment.map(|sentiment| short_text(sentiment.as_str())),
            successful: analysis.and_then(|analysis| analysis.call_successful),
        }
    }
}

/// Hides a name with more than four digits: an unknown event name could be a phone number.
fn safe_event_name(name: &str) -> String {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    match (name, digits) {
        ("", _) => "none".to_owned(),
        (_, 0..=4) => short_text(name),
        _ => "unknown".to_owned(),
    }
}

/// At most 80 characters, escaped.
fn short_text(text: &str) -> String {
    escape_text(text).chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::{CallFields, safe_event_name};
    use crate::event::Event;

    #[test]
    fn fields_have_the_call_details_and_no_personal_data() {
        let body = r#"{"event":"call_analyzed","call":{"call_id":"call_1","direction":"inbound","agent_name":"No\u001bra",
            "duration_ms":25245,"disconnection_reason":"agent_hangup","from_number":"+12025550143","transcript":"Agent: Hi",
            "call_analysis":{"user_sentiment":"Positive","call_successful":false,"call_summary":"Private."}}}"#;
        let event = Event::parse(body.as_bytes()).unwrap();
        let expected = CallFields {
            direction: Some("inbound".into()),
            agent: Some("No\\u{1b}ra".into()),
            duration_ms: Some(25_245),
            disconnection_reason: Some("agent_hangup".into()),
            sentiment: Some("Positive".into()),
            successful: Some(false),
        };
        assert_eq!(CallFields::new(event.call()), expected);
    }

    #[test]
    fn event_names_with_many_digits_are_not_logged() {
        assert_eq!(safe_event_name("call_ended"), "call_ended");
        assert_eq!(safe_event_name("call +12025550143"), "unknown");
        assert_eq!(safe_event_name(""), "none");
    }
}
