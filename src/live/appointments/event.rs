//! The events `appointment_booked`, `appointment_changed` and `appointment_cancelled`, for handlers that name them.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::json;

use super::answer::format_rfc3339;
use super::calendar::Calendar;
use crate::base::id::EventIdGenerator;
use crate::storage::{
    Appointment, BookingAction, BookingEventFactory, INTERNAL_KEY_FINGERPRINT, NewEvent, sanitize_text,
};

/// Of what is done in a call, in the company's time zone.
pub(super) fn event_builder(
    ids: &Arc<EventIdGenerator>,
    calendar: &Arc<Calendar>,
    call_id: Option<&str>,
) -> BookingEventFactory {
    let (ids, calendar, call_id) = (Arc::clone(ids), Arc::clone(calendar), call_id.map(str::to_owned));
    Arc::new(move |action, appointment| {
        build_event(action, appointment, &ids, (&calendar.time_zone, &calendar.time_zone_name), call_id.as_deref())
    })
}

/// Of what an operator does, in the time zone in which it was booked.
#[must_use]
pub(crate) fn operator_event_builder() -> BookingEventFactory {
    let ids = EventIdGenerator::default();
    Arc::new(move |action, appointment| {
        let zone = TimeZone::get(&appointment.time_zone).unwrap_or(TimeZone::UTC);
        build_event(action, appointment, &ids, (&zone, &appointment.time_zone), None)
    })
}

fn build_event(
    action: BookingAction,
    it: &Appointment,
    ids: &EventIdGenerator,
    (zone, zone_name): (&TimeZone, &str),
    call_id: Option<&str>,
) -> NewEvent {
    let name = format!("appointment_{}", action.as_str());
    let mut body = json!({
        "event": name,
        "appointment": {
            "confirmation_number": it.confirmation,
            "state": if it.cancelled { "cancelled" } else { "booked" },
            "name": it.name,
            "from_number": it.from_number,
            "to_number": it.to_number,
            "service": it.service,
            "start": format_rfc3339(it.start_ms, zone),
            "end": format_rfc3339(it.end_ms, zone),
            "start_ms": it.start_ms,
            "end_ms": it.end_ms,
            "time_zone": zone_name,
            "company": it.company,
            "revision": it.revision,
            "at_ms": it.updated_at_ms,
        },
    });
    if let Some(call_id) = call_id {
        body["call"] = json!({"call_id": call_id});
    }
    NewEvent {
        kind: Some(name),
        call_id: sanitize_text(call_id.map(str::to_owned)),
        content_type: Some("application/json".to_owned()),
        key_fingerprint: Some(INTERNAL_KEY_FINGERPRINT.to_owned()),
        ..NewEvent::new(ids.next_id(it.updated_at_ms), it.company_id, it.updated_at_ms, body.to_string())
    }
}
