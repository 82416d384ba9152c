//! How an alarm is said: a line in the log, and an event for handlers.

use serde_json::json;

use super::format::format_duration;
use super::raised::{AlarmNotification, AlarmNotificationKind};
use crate::intake::{ALARM_RESOLVED, ALARM_TRIGGERED, InternalEvent};
use crate::storage::DEFAULT_COMPANY_ID;

pub(super) fn event_name(said: &AlarmNotification) -> &'static str {
    if said.kind == AlarmNotificationKind::Resolved { ALARM_RESOLVED } else { ALARM_TRIGGERED }
}

pub(super) fn log_notification(said: &AlarmNotification, now_ms: i64) {
    let (text, subject) = (&said.text, Some(&said.subject).filter(|subject| !subject.is_empty()));
    let (alarm, lasted) = (said.alarm.as_str(), format_duration(now_ms.saturating_sub(said.since_ms)));
    match said.kind {
        AlarmNotificationKind::Resolved => {
            tracing::info!(alarm, subject, "alarm is over after {lasted}; it was: {text}")
        }
        AlarmNotificationKind::Reminder => tracing::warn!(alarm, subject, "alarm goes on, for {lasted} now: {text}"),
        AlarmNotificationKind::Raised if said.alarm.is_data_loss() => tracing::error!(alarm, subject, "alarm: {text}"),
        AlarmNotificationKind::Raised => tracing::warn!(alarm, subject, "alarm: {text}"),
    }
}

/// The event for handlers that name it.
pub(super) fn notification_event(said: &AlarmNotification, now_ms: i64) -> InternalEvent {
    let severity = if said.alarm.is_data_loss() { "error" } else { "warning" };
    let body = json!({
        "event": event_name(said),
        "alarm": {
            "name": said.alarm.as_str(),
            "severity": severity,
            "subject": Some(&said.subject).filter(|subject| !subject.is_empty()),
            "text": said.text,
            "reminder": said.kind == AlarmNotificationKind::Reminder,
            "since_ms": said.since_ms,
            "at_ms": now_ms,
        },
    });
    InternalEvent { company_id: DEFAULT_COMPANY_ID, occurred_at_ms: now_ms, body }
}
