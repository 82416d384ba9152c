//! The internal events `appointment_booked`, `appointment_changed` and `appointment_cancelled`, for handlers that list
//! them in `events`. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::{Appointment, BookingAction, BookingEventData};
use crate::event::{APPOINTMENT_BOOKED, APPOINTMENT_CANCELLED, APPOINTMENT_CHANGED};
use crate::storage::{EventOrigin, NewEvent, sanitize_text};

/// The event about a change. Made inside the transaction of the change, because the appointment (its confirmation
/// number, for one) is known only there.
pub(in crate::storage) fn booking_event(
    action: BookingAction,
    appointment: &Appointment,
    data: &BookingEventData,
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
            "start": format_rfc3339(appointment.start_ms, &data.time_zone),
            "end": format_rfc3339(appointment.end_ms, &data.time_zone),
            "start_ms": appointment.start_ms,
            "end_ms": appointment.end_ms,
            "time_zone": data.time_zone_name,
            "company": appointment.company,
            "revision": appointment.revision,
            "at_ms": appointment.updated_at_ms,
        },
    });
    if let Some(call_id) = &data.call_id {
        body["call"] = json!({"call_id": call_id});
    }
    NewEvent {
        kind: Some(name.to_owned()),
        call_id: sanitize_text(data.call_id.clone()),
        content_type: Some("application/json".to_owned()),
        origin: EventOrigin::Internal,
        ..NewEvent::new(data.event_id, appointment.company_id, appointment.updated_at_ms, body.to_string())
    }
}

/// Formats an instant as `2026-11-23T14:30:00+01:00`.
pub(crate) fn format_rfc3339(ms: i64, zone: &TimeZone) -> String {
    let instant = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    instant.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::base::id::CompanyId;
    use crate::base::id::EventIdGenerator;

    #[test]
    fn an_event_has_the_times_in_the_time_zone_and_the_call_of_the_change() {
        let appointment = Appointment {
            id: 1,
            company_id: CompanyId::new(3),
            company: "acme".to_owned(),
            confirmation: "A1B2".to_owned(),
            cancelled: false,
            name: "Ada".to_owned(),
            name_key: "ada".to_owned(),
            from_number: None,
            to_number: None,
            call_id: Some("call_that_booked".to_owned()),
            service: None,
            start_ms: 1_795_440_600_000,
            end_ms: 1_795_442_400_000,
            time_zone: "UTC".to_owned(),
            revision: 1,
            booked_at_ms: 5,
            updated_at_ms: 7,
        };
        let data = BookingEventData {
            event_id: EventIdGenerator::default().next_id(7),
            time_zone: TimeZone::get("Europe/Vienna").unwrap(),
            time_zone_name: "Europe/Vienna".to_owned(),
            call_id: Some("call_that_moved".to_owned()),
        };
        let event = booking_event(BookingAction::Changed, &appointment, &data);
        assert_eq!(
            (event.kind.as_deref(), event.call_id.as_deref()),
            (Some("appointment_changed"), Some("call_that_moved"))
        );
        assert_eq!((event.id, event.company_id, event.received_at_ms), (data.event_id, CompanyId::new(3), 7));
        assert_eq!((event.origin, event.unparsed), (EventOrigin::Internal, false));
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!(body["event"], "appointment_changed");
        assert_eq!(body["call"]["call_id"], "call_that_moved");
        assert_eq!(body["appointment"]["start"], "2026-11-23T14:30:00+01:00");
        assert_eq!(body["appointment"]["time_zone"], "Europe/Vienna");
        let without_call = BookingEventData { call_id: None, ..data };
        let event = booking_event(BookingAction::Changed, &appointment, &without_call);
        assert_eq!(event.call_id, None);
        assert_eq!(serde_json::from_slice::<Value>(&event.body).unwrap()["call"], Value::Null);
    }
}
