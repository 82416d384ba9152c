//! The arguments of the functions, as the agent's model is told them.

use serde_json::{Value, json};

use crate::config::AppointmentSettings;

pub(super) fn book(settings: &AppointmentSettings) -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": string_property("The name of the person who comes."),
            "date": date_property(),
            "time": time_property(),
            "service": service_property(settings),
        },
        "required": ["name", "date", "time"],
    })
}

pub(super) fn change(settings: &AppointmentSettings) -> Value {
    json!({
        "type": "object",
        "properties": {
            "confirmation_number": confirmation_number_property(),
            "name": string_property("The name under which it was booked; needed without a confirmation number."),
            "date": string_or_integer_property("The new date, best as YYYY-MM-DD; as the caller said it where that is not clear."),
            "time": string_or_integer_property("The new local time, best as HH:MM of 24 hours, or with AM or PM."),
            "service": service_property(settings),
        },
    })
}

pub(super) fn cancel() -> Value {
    json!({
        "type": "object",
        "properties": {
            "confirmation_number": confirmation_number_property(),
            "name": string_property("The name under which it was booked; needed without a confirmation number."),
            "date": string_or_integer_property("The date it is on; tells several of one name apart."),
            "time": string_or_integer_property("The time it begins; tells several of one name apart."),
        },
    })
}

fn string_property(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// Models send numbers where digits are all there is.
fn string_or_integer_property(description: &str) -> Value {
    json!({"type": ["string", "integer"], "description": description})
}

fn date_property() -> Value {
    string_or_integer_property("The date, best as YYYY-MM-DD; as the caller said it where that is not clear.")
}

fn time_property() -> Value {
    string_or_integer_property("The local time, best as HH:MM of 24 hours, or with AM or PM.")
}

fn confirmation_number_property() -> Value {
    string_or_integer_property("The confirmation number: six letters and digits.")
}

fn service_property(settings: &AppointmentSettings) -> Value {
    let names: Vec<_> = settings.services.iter().map(|service| service.name.as_str()).collect();
    if names.is_empty() {
        return string_property("What the appointment is for.");
    }
    // Not an enum: one that is not offered is answered with what is.
    string_property(&format!("What the appointment is for: {}.", names.join(", ")))
}
