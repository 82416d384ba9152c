//! One readable line an event.

use async_trait::async_trait;

use super::{Context, EventHandler, Outcome};
use crate::event::{Call, Event};

/// Writes one line an event to the log: what happened to which call, without numbers or words of the caller.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogHandler;

#[async_trait]
impl EventHandler for LogHandler {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        let head = event.identifiers();
        let subject = head.call_id.as_deref().or(head.chat_id.as_deref()).map(sanitize);
        let details = event.call().map(format_call_details).unwrap_or_default();
        tracing::info!(
            call_id = subject.as_deref(),
            event_id = %context.event_id,
            "webhook {}{}{details}",
            safe_event_name(event.name()),
            if context.revision_of.is_some() { " (revision)" } else { "" },
        );
        Outcome::Done
    }

    async fn unparsed(&self, body: &[u8], context: &Context) -> Outcome {
        tracing::warn!(event_id = %context.event_id, size_bytes = body.len(), "webhook with a body that is no JSON object");
        Outcome::Done
    }
}

/// `: inbound, agent "Nora", 25.2 s, agent_hangup, Positive`.
fn format_call_details(call: &Call) -> String {
    let analysis = call.call_analysis.as_ref();
    let parts = [
        call.direction.as_ref().map(|direction| sanitize(direction.as_str())),
        call.agent_name.as_ref().map(|name| format!("agent \"{}\"", sanitize(name))),
        call.duration_ms.map(format_seconds),
        call.disconnection_reason.as_ref().map(|reason| sanitize(reason.as_str())),
        analysis.and_then(|analysis| analysis.user_sentiment.as_ref()).map(|mood| sanitize(mood.as_str())),
        analysis
            .and_then(|analysis| analysis.call_successful)
            .map(|well| if well { "successful" } else { "not successful" }.into()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}

fn format_seconds(duration_ms: i64) -> String {
    format!("{}.{} s", duration_ms / 1000, (duration_ms % 1000).abs() / 100)
}

/// A name with many digits in it may be a number somebody can be called at.
fn safe_event_name(name: &str) -> String {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    match (name, digits) {
        ("", _) => "without an event name".to_owned(),
        (_, 0..=4) => sanitize(name),
        _ => "with an unknown event name".to_owned(),
    }
}

/// Text from a body, made safe for a terminal and bounded.
fn sanitize(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::format_call_details;
    use crate::event::Event;

    #[test]
    fn line_says_how_the_call_went_and_nothing_personal() {
        let body = r#"{"event":"call_analyzed","call":{"call_id":"call_1","direction":"inbound","agent_name":"No\u001bra",
            "duration_ms":25245,"disconnection_reason":"agent_hangup","from_number":"+12025550143","transcript":"Agent: Hi",
            "call_analysis":{"user_sentiment":"Positive","call_successful":false,"call_summary":"Private."}}}"#;
        let event = Event::parse(body.as_bytes()).unwrap();
        let line = format_call_details(event.call().unwrap());
        assert_eq!(line, ": inbound, agent \"Nora\", 25.2 s, agent_hangup, Positive, not successful");
    }
}
