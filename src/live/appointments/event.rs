//! The internal events `appointment_booked`, `appointment_changed` and `appointment_cancelled`, for handlers that
//! list them in `events`.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::json;

use super::answer::format_rfc3339;
use super::calendar::Calendar;
use crate::base::id::EventIdGenerator;
use crate::event::{APPOINTMENT_BOOKED, APPOINTMENT_CANCELLED, APPOINTMENT_CHANGED};
use crate::intake::InternalEvent;
use crate::storage::{Appointment, BookingAction, BookingEventFactory, NewEvent};

/// Builds events for changes made during a call, with times in the company's time zone.
pub(super) fn event_builder(
    ids: &Arc<EventIdGenerator>,
    calendar: &Arc<Calendar>,
    call_id: Option<&str>,
) -> BookingEventFactory {
    let ids = Arc::clone(ids);
    let calendar = Arc::clone(calendar);
    let call_id = call_id.map(str::to_owned);
    Arc::new(move |action, appointment| {
        let zone = EventZone { time_zone: &calendar.time_zone, name: &calendar.time_zone_name };
        build_event(action, appointment, &ids, zone, call_id.as_deref())
    })
}

/// Builds events for changes made by an operator, with times in the time zone of the booking.
#[must_use]
pub(crate) fn operator_event_builder() -> BookingEventFactory {
    let ids = EventIdGenerator::default();
    Arc::new(move |action, appointment| {
        let time_zone = TimeZone::get(&appointment.time_zone).unwrap_or(TimeZone::UTC);
        let zone = EventZone { time_zone: &time_zone, name: &appointment.time_zone };
        build_event(action, appointment, &ids, zone, None)
    })
}

/// A time zone and its IANA name.
#[derive(Clone, Copy)]
struct EventZone<'a> {
    time_zone: &'a TimeZone,
    name: &'a str,
}

fn build_event(
    action: BookingAction,
    appointment: &Appointment,
    ids: &EventIdGenerator,
    zone: EventZone<'_>,
    call_id: Option<&str>,
) -> NewEvent {
    let name = match action {
        BookingAction::Booked => APPOINTMENT_BOOKED,
        BookingAction::Changed => APPOINTMENT_CHANGED,
        BookingAction::Cancelled => APPOINTMENT_CANCELLED,
    };
    let mut body = json!({
        "event": name,
        "appointment": {
            "confirmation_number": appointment.confirmation,
            "state": if appointment.cancelled { "cancelled" } else { "booked" },
            "name": appointment.name,
            "from_number": appointment.from_number,
            "to_number": appointment.to_number,
            "service": appointment.service,
            "start": format_rfc3339(appointment.start_ms, zone.time_zone),
            "end": format_rfc3339(appointment.end_ms, zone.time_zone),
            "start_ms": appointment.start_ms,
            "end_ms": appointment.end_ms,
            "time_zone": zone.name,
            "company": appointment.company,
            "revision": appointment.revision,
            "at_ms": appointment.updated_at_ms,
        },
    });
    if let Some(call_id) = call_id {
        body["call"] = json!({"call_id": call_id});
    }
    let occurred_at_ms = appointment.updated_at_ms;
    let event = InternalEvent { company_id: appointment.company_id, occurred_at_ms, body };
    event.into_new_event(ids.next_id(occurred_at_ms))
}
