//! Reports alarms: one log line, and one event for the handlers that select it.

use serde_json::json;

use super::raised::{AlarmNotification, AlarmNotificationKind};
use crate::event::{ALARM_RESOLVED, ALARM_TRIGGERED};
use crate::intake::InternalEvent;
use crate::storage::DEFAULT_COMPANY_ID;

pub(super) fn event_name(notification: &AlarmNotification) -> &'static str {
    if notification.kind == AlarmNotificationKind::Resolved { ALARM_RESOLVED } else { ALARM_TRIGGERED }
}

pub(super) fn log_notification(notification: &AlarmNotification, now_ms: i64) {
    let alarm = notification.alarm.as_str();
    let subject = subject_field(notification);
    let text = &notification.text;
    let duration_ms = now_ms.saturating_sub(notification.since_ms);
    match notification.kind {
        AlarmNotificationKind::Resolved => tracing::info!(alarm, subject, duration_ms, text, "alarm resolved"),
        AlarmNotificationKind::Reminder => tracing::warn!(alarm, subject, duration_ms, text, "alarm still raised"),
        AlarmNotificationKind::Raised if notification.alarm.is_data_loss() => {
            tracing::error!(alarm, subject, text, "alarm raised");
        }
        AlarmNotificationKind::Raised => tracing::warn!(alarm, subject, text, "alarm raised"),
    }
}

/// The subject; `None` for an alarm about the whole receiver.
fn subject_field(notification: &AlarmNotification) -> Option<&str> {
    Some(notification.subject.as_str()).filter(|subject| !subject.is_empty())
}

/// The event for the handlers that select it. docs/alarms.md describes its fields.
pub(super) fn notification_event(notification: &AlarmNotification, now_ms: i64) -> InternalEvent {
    let severity = if notification.alarm.is_data_loss() { "error" } else { "warning" };
    let body = json!({
        "event": event_name(notification),
        "alarm": {
            "name": notification.alarm.as_str(),
            "severity": severity,
            "subject": subject_field(notification),
            "text": notification.text,
            "reminder": notification.kind == AlarmNotificationKind::Reminder,
            "since_ms": notification.since_ms,
            "at_ms": now_ms,
        },
    });
    InternalEvent { company_id: DEFAULT_COMPANY_ID, occurred_at_ms: now_ms, body }
}
