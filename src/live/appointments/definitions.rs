//! The functions as an agent's model is told them, and before any settings of their own.

use serde_json::Value;

use super::schema;
use crate::config::{FunctionSettings, Settings};

/// The three functions; none unless `appointments.enabled`.
#[must_use]
pub(crate) fn function_definitions(settings: &Settings) -> Vec<FunctionSettings> {
    if !settings.appointments.enabled {
        return Vec::new();
    }
    let appointments = &settings.appointments;
    vec![
        function_definition(
            "collect_appointment_information",
            "Books an appointment, or says which times are free when that one is taken.",
            schema::book(appointments),
        ),
        function_definition(
            "change_appointment_details",
            "Moves an appointment to another date or time, or changes what it is for.",
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
    let (description, builtin) = (description.to_owned(), Some(name.to_owned()));
    FunctionSettings { description, parameters, builtin, ..FunctionSettings::new(name) }
}
