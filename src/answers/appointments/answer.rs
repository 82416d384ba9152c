//! What a function answers: a result, a sentence to say, and the data.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::hours::Calendar;
use crate::answers::Called;
use crate::storage::{Appointment, Deed};

/// Asks for what is missing or wrong.
pub(super) fn invalid(message: impl Into<String>) -> Called {
    Called::Answer(json!({"result": "invalid", "message": message.into()}))
}

/// When the store cannot be had, or not in time.
pub(super) fn away() -> Map<String, Value> {
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

pub(super) fn not_found(message: &str) -> Called {
    Called::Answer(json!({"result": "not_found", "message": message}))
}

/// Why not, with free times.
pub(super) fn unavailable(why: &str, free: &[i64], minutes: u16, calendar: &Calendar, now_ms: i64) -> Called {
    let spoken: Vec<_> = free.iter().map(|ms| spoken(calendar.local(*ms), calendar.local(now_ms))).collect();
    let offer = match spoken.as_slice() {
        [] => "There is no free time in the days that can be booked.".to_owned(),
        [one] => format!("The next free time is {one}."),
        [rest @ .., last] => format!("The next free times are {}, and {last}.", rest.join(", ")),
    };
    let alternatives: Vec<_> = free.iter().map(|ms| when(*ms, ms + i64::from(minutes) * 60_000, calendar)).collect();
    Called::Answer(json!({
        "result": "unavailable",
        "message": format!("{why} {offer}"),
        "alternatives": alternatives,
        "time_zone": calendar.zone_name,
    }))
}

/// What came of a booking. One that the same call has made before is said with its name, which may be what was corrected.
pub(super) fn booked(deed: Deed, appointment: &Appointment, calendar: &Calendar, now_ms: i64) -> Called {
    let mut called = done(deed, appointment, calendar, now_ms);
    if let (Deed::Changed, Called::Answer(answer)) = (deed, &mut called) {
        let at = spoken(calendar.local(appointment.start_ms), calendar.local(now_ms));
        let (what, number) = (what(appointment), aloud(&appointment.confirmation));
        let name = &appointment.name;
        answer["message"] = format!(
            "The appointment booked before is now on {at}{what}, under the name {name}. The confirmation number is still {number}."
        )
        .into();
    }
    called
}

fn what(appointment: &Appointment) -> String {
    appointment.service.as_deref().map(|service| format!(" for {service}")).unwrap_or_default()
}

/// What was done, with the appointment.
pub(super) fn done(deed: Deed, appointment: &Appointment, calendar: &Calendar, now_ms: i64) -> Called {
    let at = spoken(calendar.local(appointment.start_ms), calendar.local(now_ms));
    let number = aloud(&appointment.confirmation);
    let what = what(appointment);
    let message = match deed {
        Deed::Booked => format!("The appointment{what} is booked for {at}. The confirmation number is {number}."),
        Deed::Changed => format!("The appointment{what} is now on {at}. The confirmation number is still {number}."),
        Deed::Cancelled => format!("The appointment{what} on {at} is cancelled."),
    };
    let mut answer = when(appointment.start_ms, appointment.end_ms, calendar);
    answer["result"] = deed.as_str().into();
    answer["message"] = message.into();
    answer["confirmation_number"] = appointment.confirmation.clone().into();
    answer["name"] = appointment.name.clone().into();
    answer["service"] = appointment.service.clone().into();
    answer["time_zone"] = calendar.zone_name.clone().into();
    Called::Answer(answer)
}

fn when(start_ms: i64, end_ms: i64, calendar: &Calendar) -> Value {
    let local = calendar.local(start_ms);
    json!({
        "date": local.strftime("%Y-%m-%d").to_string(),
        "time": local.strftime("%H:%M").to_string(),
        "start": iso(start_ms, &calendar.zone),
        "end": iso(end_ms, &calendar.zone),
    })
}

/// `2026-11-23T14:30:00+01:00`.
pub(super) fn iso(ms: i64, zone: &TimeZone) -> String {
    let moment = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    moment.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// `Monday, November 23 at 2:30 PM`; with the year when it is not this one.
fn spoken(at: DateTime, now: DateTime) -> String {
    let format = if at.year() == now.year() { "%A, %B %-d at %-I:%M %p" } else { "%A, %B %-d, %Y at %-I:%M %p" };
    at.strftime(format).to_string()
}

/// Letter by letter, so that it is not read as a word.
fn aloud(confirmation: &str) -> String {
    confirmation.chars().map(|c| c.to_string()).collect::<Vec<_>>().join(" ")
}
