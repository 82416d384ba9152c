//! What a function answers: a result, a sentence to say, and the data.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::calendar::Calendar;
use crate::live::FunctionOutcome;
use crate::storage::{Appointment, BookingAction};

/// Asks for what is missing or wrong.
pub(super) fn invalid(message: impl Into<String>) -> FunctionOutcome {
    FunctionOutcome::Answer(json!({"result": "invalid", "message": message.into()}))
}

/// When the store cannot be had, or not in time.
pub(super) fn store_unavailable() -> Map<String, Value> {
    let fields = [
        ("result", json!("unavailable")),
        (
            "message",
            json!("Appointments cannot be booked or changed at the moment. Please try again in a few minutes."),
        ),
        ("alternatives", json!([])),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn not_found(message: &str) -> FunctionOutcome {
    FunctionOutcome::Answer(json!({"result": "not_found", "message": message}))
}

/// Why not, with free times.
pub(super) fn unavailable(why: &str, free: &[i64], minutes: u16, calendar: &Calendar, now_ms: i64) -> FunctionOutcome {
    let spoken: Vec<_> =
        free.iter().map(|ms| format_spoken_date_time(calendar.to_local(*ms), calendar.to_local(now_ms))).collect();
    let offer = match spoken.as_slice() {
        [] => "There is no free time in the days that can be booked.".to_owned(),
        [one] => format!("The next free time is {one}."),
        [rest @ .., last] => format!("The next free times are {}, and {last}.", rest.join(", ")),
    };
    let alternatives: Vec<_> =
        free.iter().map(|ms| slot_json(*ms, ms + i64::from(minutes) * 60_000, calendar)).collect();
    FunctionOutcome::Answer(json!({
        "result": "unavailable",
        "message": format!("{why} {offer}"),
        "alternatives": alternatives,
        "time_zone": calendar.time_zone_name,
    }))
}

/// What came of a booking. One that the same call has made before is said with its name, which may be what was corrected.
pub(super) fn completed_booking(
    action: BookingAction,
    appointment: &Appointment,
    calendar: &Calendar,
    now_ms: i64,
) -> FunctionOutcome {
    let mut called = completed_action(action, appointment, calendar, now_ms);
    if let (BookingAction::Changed, FunctionOutcome::Answer(answer)) = (action, &mut called) {
        let at = format_spoken_date_time(calendar.to_local(appointment.start_ms), calendar.to_local(now_ms));
        let (what, number) = (format_service_clause(appointment), spell_out(&appointment.confirmation));
        let name = &appointment.name;
        answer["message"] = format!(
            "The appointment booked before is now on {at}{what}, under the name {name}. The confirmation number is still {number}."
        )
        .into();
    }
    called
}

fn format_service_clause(appointment: &Appointment) -> String {
    appointment.service.as_deref().map(|service| format!(" for {service}")).unwrap_or_default()
}

/// What was done, with the appointment.
pub(super) fn completed_action(
    action: BookingAction,
    appointment: &Appointment,
    calendar: &Calendar,
    now_ms: i64,
) -> FunctionOutcome {
    let at = format_spoken_date_time(calendar.to_local(appointment.start_ms), calendar.to_local(now_ms));
    let number = spell_out(&appointment.confirmation);
    let what = format_service_clause(appointment);
    let message = match action {
        BookingAction::Booked => {
            format!("The appointment{what} is booked for {at}. The confirmation number is {number}.")
        }
        BookingAction::Changed => {
            format!("The appointment{what} is now on {at}. The confirmation number is still {number}.")
        }
        BookingAction::Cancelled => format!("The appointment{what} on {at} is cancelled."),
    };
    let mut answer = slot_json(appointment.start_ms, appointment.end_ms, calendar);
    answer["result"] = action.as_str().into();
    answer["message"] = message.into();
    answer["confirmation_number"] = appointment.confirmation.clone().into();
    answer["name"] = appointment.name.clone().into();
    answer["service"] = appointment.service.clone().into();
    answer["time_zone"] = calendar.time_zone_name.clone().into();
    FunctionOutcome::Answer(answer)
}

fn slot_json(start_ms: i64, end_ms: i64, calendar: &Calendar) -> Value {
    let local = calendar.to_local(start_ms);
    json!({
        "date": local.strftime("%Y-%m-%d").to_string(),
        "time": local.strftime("%H:%M").to_string(),
        "start": format_rfc3339(start_ms, &calendar.time_zone),
        "end": format_rfc3339(end_ms, &calendar.time_zone),
    })
}

/// `2026-11-23T14:30:00+01:00`.
pub(super) fn format_rfc3339(ms: i64, zone: &TimeZone) -> String {
    let moment = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    moment.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// `Monday, November 23 at 2:30 PM`; with the year when it is not this one.
fn format_spoken_date_time(at: DateTime, now: DateTime) -> String {
    let format = if at.year() == now.year() { "%A, %B %-d at %-I:%M %p" } else { "%A, %B %-d, %Y at %-I:%M %p" };
    at.strftime(format).to_string()
}

/// Letter by letter, so that it is not read as a word.
fn spell_out(confirmation: &str) -> String {
    confirmation.chars().map(|c| c.to_string()).collect::<Vec<_>>().join(" ")
}
