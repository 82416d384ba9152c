//! How an alarm is said: a line in the log, and an event for handlers.

use serde_json::json;

use super::state::{Said, What};
use super::words::span;
use crate::intake::{ALARM_RESOLVED, ALARM_TRIGGERED, Internal};
use crate::storage::DEFAULT_COMPANY;

pub(super) fn event_name(said: &Said) -> &'static str {
    if said.what == What::IsOver { ALARM_RESOLVED } else { ALARM_TRIGGERED }
}

pub(super) fn log(said: &Said, now_ms: i64) {
    let (text, subject) = (&said.text, Some(&said.subject).filter(|subject| !subject.is_empty()));
    let (alarm, lasted) = (said.alarm.as_str(), span(now_ms.saturating_sub(said.since_ms)));
    match said.what {
        What::IsOver => tracing::info!(alarm, subject, "alarm is over after {lasted}; it was: {text}"),
        What::GoesOn => tracing::warn!(alarm, subject, "alarm goes on, for {lasted} now: {text}"),
        What::Begins if said.alarm.is_loss() => tracing::error!(alarm, subject, "alarm: {text}"),
        What::Begins => tracing::warn!(alarm, subject, "alarm: {text}"),
    }
}

/// The event for handlers that name it.
pub(super) fn event(said: &Said, now_ms: i64) -> Internal {
    let severity = if said.alarm.is_loss() { "error" } else { "warning" };
    let body = json!({
        "event": event_name(said),
        "alarm": {
            "name": said.alarm.as_str(),
            "severity": severity,
            "subject": Some(&said.subject).filter(|subject| !subject.is_empty()),
            "text": said.text,
            "reminder": said.what == What::GoesOn,
            "since_ms": said.since_ms,
            "at_ms": now_ms,
        },
    });
    Internal { company_id: DEFAULT_COMPANY, at_ms: now_ms, body }
}
