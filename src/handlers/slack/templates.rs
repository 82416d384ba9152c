//! Renders the message for an event.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::{Environment, Error, Value};
use serde_json::{Value as Json, json};

use super::{default_templates, escape};
use crate::base::id::EventId;
use crate::event::{EventKind, sample_body};
use crate::handlers::Context;
use crate::outbound::template::{self, describe_error, error_location, is_template_error};
use crate::privacy::redact;
use crate::storage::DEFAULT_COMPANY_ID;

/// Instructions a template may execute, so that nested loops end.
const TEMPLATE_FUEL: u64 = 100_000;

/// What a template made of an event.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Text(String),
    /// Nothing is sent, for this reason.
    None(&'static str),
}

/// Compiled templates by event name.
pub(super) struct MessageTemplates(Environment<'static>);

impl MessageTemplates {
    /// The default templates, replaced and extended by those of the settings.
    ///
    /// # Errors
    /// The event name of the first invalid template, with the reason.
    pub(super) fn new(configured: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut templates = Self(slack_environment());
        let mut names = BTreeSet::from(default_templates::EVENTS_WITH_TEMPLATE);
        names.extend(configured.keys().map(String::as_str));
        for name in names {
            let Some(text) = configured.get(name).cloned().or_else(|| default_templates::default_template(name)) else {
                continue;
            };
            let to_reason = |error| format!("`{name}`: {}", describe_error(&error));
            templates.0.add_template_owned(name.to_owned(), text).map_err(to_reason)?;
            templates.check_template(name).map_err(to_reason)?;
        }
        Ok(templates)
    }

    /// Renders the template with a sample and with an empty event: unknown filters and functions fail only at run time.
    fn check_template(&self, name: &str) -> Result<(), Error> {
        let body = sample_body(EventKind::from_name(name), "id", 0).and_then(|body| serde_json::from_str(&body).ok());
        let context = Context::new(EventId::lower_bound_at(0), (DEFAULT_COMPANY_ID, "default"), 0);
        for payload in [body.unwrap_or(Json::Null), json!({})] {
            match self.0.get_template(name)?.render(default_templates::template_variables(&payload, &context)) {
                Err(error) if is_template_error(&error) => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The message for an event.
    ///
    /// # Errors
    /// The kind of error and its line. The text does not quote the event.
    pub(super) fn render(&self, payload: &Json, context: &Context) -> Result<Message, String> {
        let name = payload.get("event").and_then(Json::as_str).unwrap_or_default();
        let Ok(template) = self.0.get_template(name) else {
            return Ok(Message::None("no template has the name of this event"));
        };
        let rendered = template.render(default_templates::template_variables(payload, context));
        let text = rendered.map_err(|error| format!("templates.{name}: {}", error_location(&error)))?;
        let message = escape::truncate_message(&text);
        Ok(if message.is_empty() {
            Message::None("the template of this event rendered no text")
        } else {
            Message::Text(message)
        })
    }
}

fn slack_environment() -> Environment<'static> {
    let mut environment = template::limited_environment(TEMPLATE_FUEL);
    environment
        .add_filter("duration", |ms: &Value| ms.as_i64().map(default_templates::format_duration).unwrap_or_default());
    environment.add_filter("phone", |number: &Value| number.as_str().map(redact::phone).unwrap_or_default());
    environment.add_filter("metric", default_templates::format_metric);
    environment.add_filter("humanize", |text: &Value| text.as_str().unwrap_or_default().replace('_', " "));
    environment.add_filter("truncate", |text: &Value, max_chars: usize| {
        escape::truncate(text.as_str().unwrap_or_default(), max_chars)
    });
    environment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::CompanyId;

    fn context() -> Context {
        Context::new(EventId::lower_bound_at(0), (CompanyId::new(1), "default"), 0)
    }

    fn custom_template(name: &str, text: &str) -> Result<MessageTemplates, String> {
        MessageTemplates::new(&[(name.to_owned(), text.to_owned())].into())
    }

    fn render_custom(text: &str, payload: &Json) -> String {
        text_of(custom_template("x", text).unwrap().render(payload, &context()).unwrap())
    }

    fn render_default(payload: &Json) -> String {
        text_of(MessageTemplates::new(&BTreeMap::new()).unwrap().render(payload, &context()).unwrap())
    }

    fn text_of(message: Message) -> String {
        match message {
            Message::Text(text) => text,
            Message::None(_) => String::new(),
        }
    }

    #[test]
    fn alarms_have_messages() {
        let alarm = |event: &str, reminder: bool| {
            let text = "handler `crm` gave up on 3 deliveries <within> 60 min";
            render_default(
                &json!({"event": event, "alarm": {"name": "dead_deliveries", "text": text, "reminder": reminder}}),
            )
        };
        let text = "handler `crm` gave up on 3 deliveries &lt;within&gt; 60 min";
        assert_eq!(alarm("alarm_triggered", false), format!(":warning: *Alarm*: {text}"));
        assert_eq!(alarm("alarm_triggered", true), format!(":warning: *Alarm* (still raised): {text}"));
        assert_eq!(alarm("alarm_resolved", false), format!(":white_check_mark: *Alarm resolved*: {text}"));
    }

    #[test]
    fn default_messages_of_sample_events() {
        let sampled = |kind| render_default(&serde_json::from_str(&sample_body(kind, "id", 100_000).unwrap()).unwrap());
        for (kind, message) in [
            (EventKind::CallStarted, "*Call started*: +12•••17 called Harbour Bakery orders"),
            (EventKind::CallEnded, "*Call ended*: +12•••17 called Harbour Bakery orders\n30 s · agent hangup"),
            (
                EventKind::CallAnalyzed,
                "*Call analyzed*: +12•••17 called Harbour Bakery orders\n\
                 30 s · successful · positive sentiment · agent hangup\n\
                 >The caller ordered two rye loaves for Saturday at nine.",
            ),
            (EventKind::TransferStarted, "*Transfer started*: +12•••17 called Harbour Bakery orders, to +12•••33"),
            (EventKind::TransferEnded, "*Transfer ended*: +12•••17 called Harbour Bakery orders, to +12•••33"),
            (EventKind::ChatStarted, "*Chat started*: sms chat with agent_sample_bakery_text"),
            (
                EventKind::ChatAnalyzed,
                "*Chat analyzed*: sms chat with agent_sample_bakery_text\n\
                 30 s · successful · neutral sentiment\n>Asked about Sunday's hours.",
            ),
            (
                EventKind::AlertTriggered,
                ":rotating_light: *Alert*: Failed functions\n\
                 custom function failure count: 7 (threshold 5, window 15m)",
            ),
        ] {
            assert_eq!(sampled(kind), message);
        }
        let failed = json!({"event": "call_ended", "call": {"call_type": "phone_call", "direction": "outbound",
            "agent_name": "Nora", "to_number": "+12025550100", "call_status": "not_connected",
            "disconnection_reason": "dial_failed"}});
        assert_eq!(render_default(&failed), "*Call ended*: Nora called +12•••00\nnot connected · dial failed");
        assert_eq!(render_default(&json!({"event": "transcript_updated"})), "");
    }

    #[test]
    fn callers_cannot_inject_mentions_links_or_lines() {
        let evil = "<!channel> <https://evil.example|paid> & <@U1>\n*Outcome*: paid";
        let payload = json!({"event": "x", "call": {"agent_name": evil, "from_number": evil, "direction": evil,
            "call_type": evil, "disconnection_reason": evil, "call_analysis": {"call_summary": evil, "user_sentiment": evil,
            "custom_analysis_data": {evil: [evil]}}}, "transfer_destination": evil});
        for template in [
            "{{ call.agent_name }}",
            "{{ call.agent_name | safe | upper }}",
            "{{ call.agent_name | replace('&', '&') | title }}{{ call.agent_name ~ '' }}",
            "{% set x %}{{ call.agent_name }}{% endset %}{{ x | safe }}{{ [x, call.agent_name] | join | safe }}",
            "{{ call }}{{ payload }}{{ call.call_analysis.custom_analysis_data | items }}",
            "{% for key, value in call.call_analysis.custom_analysis_data | items %}{{ key }}{{ value }}{% endfor %}",
            "{{ call.from_number | phone }}{{ call.agent_name | humanize | truncate(30) }}",
            "{{ who }}{{ reason }}{{ summary }}{{ sentiment }}{{ destination }}{{ note }}",
        ] {
            let text = render_custom(template, &payload);
            assert!(
                !text.contains(['<', '>', '\n']) && text.contains("lt;") | text.contains("LT;") | text.contains("Lt;"),
                "{template}: {text}"
            );
        }
        for name in default_templates::EVENTS_WITH_TEMPLATE {
            let mut payload = payload.clone();
            payload["event"] = name.into();
            payload["alert"] = json!({"name": evil, "metric_type": evil, "window": evil, "threshold_value": evil});
            let text = render_default(&payload);
            assert!(!text.contains('<') && !text.contains("\n*"), "{name}: {text}");
        }
    }

    #[test]
    fn configured_templates_replace_and_extend_the_defaults() {
        let payload =
            json!({"event": "x", "call": {"from_number": "+12025550143", "duration_ms": 3_845_000, "cents": 3.5}});
        assert_eq!(
            render_custom("{{ call.from_number | phone }} {{ call.duration_ms | duration }}", &payload),
            "+12•••43 1 h 4 min"
        );
        assert_eq!(
            render_custom("{{ call.from_number }} {{ call.no.such.field }}{{ call.cents }}", &payload),
            "+12025550143 3.5"
        );
        assert_eq!(render_custom("  {% if call.none %}x{% endif %}\n", &payload), "", "blank: no message");
        let silenced = custom_template("call_ended", "").unwrap();
        let message = silenced.render(&json!({"event": "call_ended"}), &context()).unwrap();
        assert_eq!(message, Message::None("the template of this event rendered no text"));
        let long = json!({"event": "x", "call": {"say": "&".repeat(10_000)}});
        let text = render_custom("{{ call.say }}", &long);
        assert!(text.chars().count() <= 2_901 && text.ends_with("&amp;…"), "{}", text.len());
    }

    #[test]
    fn invalid_templates_are_refused_by_name() {
        for (text, expected) in [
            ("{{ call.", "`call_ended`: syntax error"),
            ("\n{{ call.x | durration }}", "unknown filter in line 2"),
            ("{{ nothing() }}", "unknown"),
            ("{% include 'y' %}", "syntax error"),
            ("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "fuel"),
        ] {
            let why = custom_template("call_ended", text).err().unwrap_or_default();
            assert!(why.starts_with("`call_ended`: ") && why.contains(expected), "{text}: {why}");
        }
    }

    #[test]
    fn render_errors_do_not_quote_the_event() {
        let templates = custom_template("x", "{{ call.a + 1 }}").unwrap();
        let why = templates.render(&json!({"event": "x", "call": {"a": "Jane"}}), &context()).unwrap_err();
        assert!(why.starts_with("templates.x: ") && !why.contains("Jane"), "{why}");
    }
}
