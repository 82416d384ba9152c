//! Answers of the appointment functions: a result, a sentence for the agent to say, and data.
//!
//! A voice agent reads the messages aloud, so they are short sentences without symbols or ISO dates.

use jiff::civil::DateTime;
use serde_json::{Map, Value, json};

use super::calendar::Calendar;
use crate::live::FunctionOutcome;
use crate::storage::{Appointment, BookingAction, format_rfc3339};

/// Adds today's date and the time zone, which the model may not know: it computes dates from `tomorrow` itself.
pub(super) fn with_today(outcome: FunctionOutcome, calendar: &Calendar, now_ms: i64) -> FunctionOutcome {
    match outcome {
        FunctionOutcome::Answer(Value::Object(mut fields)) => {
            fields.insert("today".to_owned(), calendar.format_today(now_ms).into());
            fields.insert("time_zone".to_owned(), calendar.time_zone_name.clone().into());
            FunctionOutcome::Answer(Value::Object(fields))
        }
        other => other,
    }
}

/// The arguments are incomplete or cannot be used; `message` asks the caller.
pub(super) fn invalid(message: impl Into<String>) -> FunctionOutcome {
    FunctionOutcome::Answer(json!({"result": "invalid", "message": message.into()}))
}

/// The fallback for a store that fails or does not answer before the deadline.
pub(super) fn store_unavailable() -> Map<String, Value> {
    let fields = [
        ("result", json!("unavailable")),
        ("message", json!("Sorry, I cannot reach our calendar right now. Please try again in a few minutes.")),
        ("alternatives", json!([])),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn not_found(message: &str) -> FunctionOutcome {
    FunctionOutcome::Answer(json!({"result": "not_found", "message": message}))
}

/// The time is not available for this reason; offers the start times in `free` instead.
pub(super) fn unavailable(
    reason: &str,
    free: &[i64],
    minutes: u16,
    calendar: &Calendar,
    now_ms: i64,
) -> FunctionOutcome {
    let now = calendar.to_local(now_ms);
    let spoken: Vec<_> =
        free.iter().map(|start_ms| format_spoken_date_time(calendar.to_local(*start_ms), now)).collect();
    let offer = match spoken.as_slice() {
        [] => "Unfortunately, we are fully booked.".to_owned(),
        [only] => format!("The next free time is {only}. Would that work for you?"),
        // Each date contains commas itself, so there is one before "and" also between two.
        [first @ .., last] => {
            format!("The next free times are {}, and {last}. Would one of these work for you?", first.join(", "))
        }
    };
    let alternatives: Vec<_> =
        free.iter().map(|start_ms| slot_json(*start_ms, start_ms + i64::from(minutes) * 60_000, calendar)).collect();
    FunctionOutcome::Answer(json!({
        "result": "unavailable",
        "message": format!("{reason} {offer}"),
        "alternatives": alternatives,
        "time_zone": calendar.time_zone_name,
    }))
}

/// Answer to a booking. If it corrected an appointment made earlier in the same call, the message also repeats the
/// name, since the name may be what was corrected.
pub(super) fn completed_booking(
    action: BookingAction,
    appointment: &Appointment,
    calendar: &Calendar,
    now_ms: i64,
) -> FunctionOutcome {
    let mut outcome = completed_action(action, appointment, calendar, now_ms);
    if let (BookingAction::Changed, FunctionOutcome::Answer(answer)) = (action, &mut outcome) {
        let at = format_spoken_date_time(calendar.to_local(appointment.start_ms), calendar.to_local(now_ms));
        let service = format_service_clause(appointment);
        let number = spell_out(&appointment.confirmation);
        let name = &appointment.name;
        let message = format!(
            "Your appointment{service} is now on {at}, under the name {name}. \
             Your confirmation number is still {number}."
        );
        answer["message"] = message.into();
    }
    outcome
}

fn format_service_clause(appointment: &Appointment) -> String {
    appointment.service.as_deref().map(|service| format!(" for {service}")).unwrap_or_default()
}

/// Confirms what was done, with the data of the appointment.
pub(super) fn completed_action(
    action: BookingAction,
    appointment: &Appointment,
    calendar: &Calendar,
    now_ms: i64,
) -> FunctionOutcome {
    let at = format_spoken_date_time(calendar.to_local(appointment.start_ms), calendar.to_local(now_ms));
    let number = spell_out(&appointment.confirmation);
    let service = format_service_clause(appointment);
    let message = match action {
        BookingAction::Booked => {
            format!("Your appointment{service} is booked for {at}. Your confirmation number is {number}.")
        }
        BookingAction::Changed => {
            format!("Your appointment{service} is now on {at}. Your confirmation number is still {number}.")
        }
        BookingAction::Cancelled => format!("Your appointment{service} on {at} is cancelled."),
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

/// Formats `Monday, November 23 at 2:30 PM`, with the year if it is not the current one.
fn format_spoken_date_time(at: DateTime, now: DateTime) -> String {
    let format = if at.year() == now.year() { "%A, %B %-d at %-I:%M %p" } else { "%A, %B %-d, %Y at %-I:%M %p" };
    at.strftime(format).to_string()
}

/// Separates the characters with spaces, so that a voice reads them one by one and not as a word.
fn spell_out(confirmation: &str) -> String {
    confirmation.chars().map(|c| c.to_string()).collect::<Vec<_>>().join(" ")
}
