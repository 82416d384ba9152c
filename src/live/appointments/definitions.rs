//! Names, descriptions and parameters of the appointment functions, before `[[functions]]` settings override them.

use serde_json::Value;

use super::schema;
use crate::config::{FunctionSettings, Settings};

/// Definitions of the three functions, or an empty list unless `appointments.enabled` is set.
#[must_use]
pub(crate) fn function_definitions(settings: &Settings) -> Vec<FunctionSettings> {
    if !settings.appointments.enabled {
        return Vec::new();
    }
    let appointments = &settings.appointments;
    vec![
        function_definition(
            "collect_appointment_information",
            "Books an appointment, or offers the next free times if that one is taken.",
            schema::book(appointments),
        ),
        function_definition(
            "change_appointment_details",
            "Moves an appointment to another date or time, or changes its service.",
            schema::change(appointments),
        ),
        function_definition("cancel_appointment", "Cancels an appointment.", schema::cancel()),
    ]
}

fn function_definition(name: &str, description: &str, parameters: Value) -> FunctionSettings {
    let parameters = match parameters {
        Value::Object(fields) => Some(fields),
        _ => None,
    };
    FunctionSettings {
        description: description.to_owned(),
        parameters,
        builtin: Some(name.to_owned()),
        ..FunctionSettings::new(name)
    }
}
