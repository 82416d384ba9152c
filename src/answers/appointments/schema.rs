//! The arguments of the functions, as the agent's model is told them.

use serde_json::{Value, json};

use crate::config::AppointmentSettings;

pub(super) fn collect(settings: &AppointmentSettings) -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": text("The name of the person who comes."),
            "date": date(),
            "time": time(),
            "service": service(settings),
        },
        "required": ["name", "date", "time"],
    })
}

pub(super) fn change(settings: &AppointmentSettings) -> Value {
    json!({
        "type": "object",
        "properties": {
            "confirmation_number": confirmation(),
            "name": text("The name under which it was booked; needed without a confirmation number."),
            "date": text_or_number("The new date, best as YYYY-MM-DD; as the caller said it where that is not clear."),
            "time": text_or_number("The new local time, best as HH:MM of 24 hours, or with AM or PM."),
            "service": service(settings),
        },
    })
}

pub(super) fn cancel() -> Value {
    json!({
        "type": "object",
        "properties": {
            "confirmation_number": confirmation(),
            "name": text("The name under which it was booked; needed without a confirmation number."),
            "date": text_or_number("The date it is on; tells several of one name apart."),
            "time": text_or_number("The time it begins; tells several of one name apart."),
        },
    })
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// Models send numbers where digits are all there is.
fn text_or_number(description: &str) -> Value {
    json!({"type": ["string", "integer"], "description": description})
}

fn date() -> Value {
    text_or_number("The date, best as YYYY-MM-DD; as the caller said it where that is not clear.")
}

fn time() -> Value {
    text_or_number("The local time, best as HH:MM of 24 hours, or with AM or PM.")
}

fn confirmation() -> Value {
    text_or_number("The confirmation number: six letters and digits.")
}

fn service(settings: &AppointmentSettings) -> Value {
    let names: Vec<_> = settings.services.iter().map(|service| service.name.as_str()).collect();
    if names.is_empty() {
        return text("What the appointment is for.");
    }
    // Not an enum: one that is not offered is answered with what is.
    text(&format!("What the appointment is for: {}.", names.join(", ")))
}
