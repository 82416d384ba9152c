//! JSON Schemas of the arguments. The descriptions are instructions to the agent's model.

use serde_json::{Value, json};

use crate::config::AppointmentSettings;

pub(super) fn book(settings: &AppointmentSettings) -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": string_property("The name of the person the appointment is for."),
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
            "name": booked_name_property(),
            "date": string_or_integer_property(
                "The new date, preferably as YYYY-MM-DD. If it is ambiguous or relative, exactly as the caller said it.",
            ),
            "time": string_or_integer_property("The new local time, preferably as 24-hour HH:MM, or with AM or PM."),
            "service": service_property(settings),
        },
    })
}

pub(super) fn cancel() -> Value {
    json!({
        "type": "object",
        "properties": {
            "confirmation_number": confirmation_number_property(),
            "name": booked_name_property(),
            "date": string_or_integer_property(
                "The date of the appointment. Identifies it if several are booked under this name.",
            ),
            "time": string_or_integer_property(
                "The start time of the appointment. Identifies it if several are booked under this name.",
            ),
        },
    })
}

fn string_property(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// Models send a JSON number where a value consists of digits only, such as `1430` or `20261123`.
fn string_or_integer_property(description: &str) -> Value {
    json!({"type": ["string", "integer"], "description": description})
}

fn booked_name_property() -> Value {
    string_property("The name the appointment was booked under. Required without a confirmation number.")
}

fn date_property() -> Value {
    string_or_integer_property(
        "The date, preferably as YYYY-MM-DD. If it is ambiguous or relative (`tomorrow`), exactly as the caller said it. \
         Every answer of this function has today's date.",
    )
}

fn time_property() -> Value {
    string_or_integer_property("The local time, preferably as 24-hour HH:MM, or with AM or PM.")
}

fn confirmation_number_property() -> Value {
    string_or_integer_property("The confirmation number: six letters or digits.")
}

fn service_property(settings: &AppointmentSettings) -> Value {
    let names: Vec<_> = settings.services.iter().map(|service| service.name.as_str()).collect();
    if names.is_empty() {
        return string_property("What the appointment is for.");
    }
    // Not an `enum`: the schema check would reject a service that is not offered before the function can name the
    // services that are.
    string_property(&format!("What the appointment is for: {}.", names.join(", ")))
}
