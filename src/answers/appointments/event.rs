//! The events `appointment_booked`, `appointment_changed` and `appointment_cancelled`, for handlers that name them.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::json;

use super::answer::iso;
use super::hours::Calendar;
use crate::base::id::EventIds;
use crate::storage::{Announce, Appointment, Deed, INTERNAL, NewEvent, bounded};

/// Of what is done in a call, in the company's time zone.
pub(super) fn announce(ids: &Arc<EventIds>, calendar: &Arc<Calendar>, call_id: Option<&str>) -> Announce {
    let (ids, calendar, call_id) = (Arc::clone(ids), Arc::clone(calendar), call_id.map(str::to_owned));
    Arc::new(move |deed, appointment| {
        event(deed, appointment, &ids, (&calendar.zone, &calendar.zone_name), call_id.as_deref())
    })
}

/// Of what an operator does, in the time zone in which it was booked.
#[must_use]
pub fn announce_by_hand() -> Announce {
    let ids = EventIds::default();
    Arc::new(move |deed, appointment| {
        let zone = TimeZone::get(&appointment.time_zone).unwrap_or(TimeZone::UTC);
        event(deed, appointment, &ids, (&zone, &appointment.time_zone), None)
    })
}

fn event(
    deed: Deed,
    it: &Appointment,
    ids: &EventIds,
    (zone, zone_name): (&TimeZone, &str),
    call_id: Option<&str>,
) -> NewEvent {
    let name = format!("appointment_{}", deed.as_str());
    let mut body = json!({
        "event": name,
        "appointment": {
            "confirmation_number": it.confirmation,
            "state": if it.cancelled { "cancelled" } else { "booked" },
            "name": it.name,
            "from_number": it.from_number,
            "to_number": it.to_number,
            "service": it.service,
            "start": iso(it.start_ms, zone),
            "end": iso(it.end_ms, zone),
            "start_ms": it.start_ms,
            "end_ms": it.end_ms,
            "time_zone": zone_name,
            "company": it.company,
            "revision": it.revision,
            "at_ms": it.changed_at_ms,
        },
    });
    if let Some(call_id) = call_id {
        body["call"] = json!({"call_id": call_id});
    }
    NewEvent {
        event: Some(name),
        call_id: bounded(call_id.map(str::to_owned)),
        content_type: Some("application/json".to_owned()),
        key_fingerprint: Some(INTERNAL.to_owned()),
        ..NewEvent::new(ids.next(it.changed_at_ms), it.company_id, it.changed_at_ms, body.to_string())
    }
}
