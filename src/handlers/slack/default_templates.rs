//! The default message templates and their variables.

use minijinja::Value;
use serde_json::Value as Json;

use super::escape;
use crate::config::DEFAULT_COMPANY_SLUG;
use crate::handlers::Context;
use crate::privacy::redact;

const OUTCOME_TEMPLATE: &str =
    "{{ [duration_ms | duration or not_connected, outcome, sentiment, reason] | select | join(' · ') }}";
const SUMMARY_TEMPLATE: &str = "{% if summary %}\n>{{ summary | truncate(1500) }}{% endif %}";
const ALERT_TEMPLATE: &str = "{{ alert.metric_type | humanize }}: {{ alert.current_value | metric(alert.metric_type) }}\
     {% if alert.previous_value is not none %}, before that {{ alert.previous_value | metric(alert.metric_type) }}{% endif %} \
     (threshold {% if alert.threshold_type == 'relative' %}{{ alert.threshold_value }} %\
     {% else %}{{ alert.threshold_value | metric(alert.metric_type) }}{% endif %}, window {{ alert.window }})";

/// The default template for an event name; the settings may replace it.
pub(super) fn default_template(event: &str) -> Option<String> {
    let headed = |title: &str| format!("*{title}*{{{{ note }}}}: {{{{ who }}}}");
    let transfer = |title: &str| headed(title) + "{% if destination %}, to {{ destination }}{% endif %}";
    Some(match event {
        "call_started" => headed("Call started"),
        "call_ended" => headed("Call ended") + "\n" + OUTCOME_TEMPLATE,
        "call_analyzed" => headed("Call analyzed") + "\n" + OUTCOME_TEMPLATE + SUMMARY_TEMPLATE,
        "transfer_started" => transfer("Transfer started"),
        "transfer_bridged" => transfer("Transfer connected"),
        "transfer_cancelled" => transfer("Transfer cancelled"),
        "transfer_ended" => transfer("Transfer ended"),
        "chat_started" => headed("Chat started"),
        "chat_ended" => headed("Chat ended") + "\n" + OUTCOME_TEMPLATE,
        "chat_analyzed" => headed("Chat analyzed") + "\n" + OUTCOME_TEMPLATE + SUMMARY_TEMPLATE,
        "alert_triggered" => format!(":rotating_light: *Alert*{{{{ note }}}}: {{{{ alert.name }}}}\n{ALERT_TEMPLATE}"),
        "alert_resolved" => {
            format!(":white_check_mark: *Alert resolved*{{{{ note }}}}: {{{{ alert.name }}}}\n{ALERT_TEMPLATE}")
        }
        "alarm_triggered" => {
            ":warning: *Alarm*{{ note }}{% if payload.alarm.reminder %} (still raised){% endif %}: {{ payload.alarm.text }}"
                .to_owned()
        }
        "alarm_resolved" => ":white_check_mark: *Alarm resolved*{{ note }}: {{ payload.alarm.text }}".to_owned(),
        _ => return None,
    })
}

/// The events with a default template.
pub(super) const EVENTS_WITH_TEMPLATE: [&str; 14] = [
    "call_started",
    "call_ended",
    "call_analyzed",
    "transfer_started",
    "transfer_bridged",
    "transfer_cancelled",
    "transfer_ended",
    "chat_started",
    "chat_ended",
    "chat_analyzed",
    "alert_triggered",
    "alert_resolved",
    "alarm_triggered",
    "alarm_resolved",
];

/// The variables of templates. Phone numbers in derived variables such as `who` are redacted; `call.from_number` is the
/// full number.
pub(super) fn template_variables(payload: &Json, context: &Context) -> Value {
    let call = payload.get("call").or_else(|| payload.get("data")).unwrap_or(&Json::Null);
    let chat = payload.get("chat").unwrap_or(&Json::Null);
    let subject = if call.is_object() { call } else { chat };
    let analysis = subject.get("call_analysis").or_else(|| subject.get("chat_analysis")).unwrap_or(&Json::Null);
    let escaped = |text: &str| Value::from(escape::escape_text(text));
    let text = |from: &Json, field: &str| from.get(field).and_then(Json::as_str).map(escaped).unwrap_or_default();
    let summary = ["call_summary", "chat_summary"].iter().find_map(|field| analysis.get(field)?.as_str());
    let is_connected = subject.get("call_status").and_then(Json::as_str) != Some("not_connected");
    let reason = subject.get("disconnection_reason").and_then(Json::as_str).map(|reason| reason.replace('_', " "));
    Value::from_pairs([
        ("event", text(payload, "event")),
        ("payload", escape::escape_value(payload)),
        ("call", escape::escape_value(call)),
        ("chat", escape::escape_value(chat)),
        ("alert", escape::escape_value(payload.get("alert").unwrap_or(&Json::Null))),
        ("event_id", Value::from(context.event_id.to_string())),
        ("company", escaped(&context.company)),
        ("attempt", Value::from(context.attempt)),
        ("revision", Value::from(context.revision_of.is_some())),
        ("replay", Value::from(context.replay)),
        ("note", Value::from(message_suffix(context))),
        ("who", escaped(&describe_parties(call, chat))),
        ("duration_ms", duration_ms(subject).map(Value::from).unwrap_or_default()),
        ("not_connected", if is_connected { Value::default() } else { Value::from("not connected") }),
        ("outcome", call_outcome(analysis).map(Value::from).unwrap_or_default()),
        ("sentiment", sentiment_text(analysis).map(|text| escaped(&text)).unwrap_or_default()),
        ("summary", summary.map(escaped).unwrap_or_default()),
        ("reason", reason.map(|text| escaped(&text)).unwrap_or_default()),
        ("destination", transfer_destination(payload, call).map(|to| escaped(&redact::phone(to))).unwrap_or_default()),
    ])
}

/// The suffix of a message's title: company, revision, replay.
fn message_suffix(context: &Context) -> String {
    let mut suffix = String::new();
    if context.company != DEFAULT_COMPANY_SLUG {
        suffix = format!(" [{}]", escape::escape_text(&context.company));
    }
    if context.revision_of.is_some() {
        suffix += " (changed)";
    }
    if context.replay {
        suffix += " (replay)";
    }
    suffix
}

/// Who talks to whom: `+12•••43 called Nora`, `Nora called +12•••43`, `web call with Nora`.
fn describe_parties(call: &Json, chat: &Json) -> String {
    let subject = if call.is_object() { call } else { chat };
    let text = |field: &str| subject.get(field).and_then(Json::as_str).filter(|text| !text.is_empty());
    let agent = text("agent_name").or_else(|| text("agent_id")).unwrap_or("an unknown agent");
    let number = |field| text(field).map_or_else(|| "an unknown number".to_owned(), redact::phone);
    if !call.is_object() {
        return format!("{} with {agent}", text("chat_type").unwrap_or("chat").replace('_', " "));
    }
    match (text("call_type"), text("direction")) {
        (Some("web_call"), _) => format!("web call with {agent}"),
        (_, Some("outbound")) => format!("{agent} called {}", number("to_number")),
        (_, Some(_)) => format!("{} called {agent}", number("from_number")),
        (_, None) => format!("call with {agent}"),
    }
}

fn duration_ms(subject: &Json) -> Option<i64> {
    let number = |field: &str| subject.get(field).and_then(Json::as_i64);
    let measured = || number("end_timestamp")?.checked_sub(number("start_timestamp")?);
    number("duration_ms").or_else(measured).filter(|ms| *ms >= 0)
}

fn call_outcome(analysis: &Json) -> Option<&'static str> {
    if analysis.get("in_voicemail").and_then(Json::as_bool) == Some(true) {
        return Some("voicemail");
    }
    let successful = ["call_successful", "chat_successful"].iter().find_map(|field| analysis.get(field)?.as_bool())?;
    Some(if successful { "successful" } else { "not successful" })
}

fn sentiment_text(analysis: &Json) -> Option<String> {
    let sentiment = analysis.get("user_sentiment")?.as_str().filter(|sentiment| *sentiment != "Unknown")?;
    Some(format!("{} sentiment", sentiment.to_lowercase()))
}

fn transfer_destination<'a>(payload: &'a Json, call: &'a Json) -> Option<&'a str> {
    let given = payload.get("transfer_destination").or_else(|| call.get("transfer_destination"))?;
    given.as_str().or_else(|| given.get("number")?.as_str())
}

/// The filter `metric`: `$148.00` from 14800 for metrics whose names end with `_cost`, which Retell sends in cents.
pub(super) fn format_metric(value: &Value, metric: &Value) -> Value {
    match (f64::try_from(value.clone()), metric.as_str()) {
        (Ok(cents), Some(metric)) if metric.ends_with("_cost") => Value::from(format!("${:.2}", cents / 100.0)),
        _ => value.clone(),
    }
}

/// Formats milliseconds as `25 s`, `3 min 5 s` or `1 h 4 min`.
pub(super) fn format_duration(ms: i64) -> String {
    let seconds = ms / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, 0) => format!("{m} min"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, 0, _) => format!("{h} h"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
