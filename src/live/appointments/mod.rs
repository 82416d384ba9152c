//! Appointments: functions that an agent calls while somebody is on the line. No time is given away twice: the store's keys
//! see to that, whatever two calls looked at before.

mod answer;
mod arguments;
mod book;
mod booking_service;
mod calendar;
#[cfg(test)]
mod caller_input_tests;
mod cancel;
mod change;
mod definitions;
#[cfg(test)]
mod dst_tests;
mod event;
mod find_appointment;
mod function;
mod parse;
mod schema;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::booking_service::BookingService;
use self::function::{AppointmentFunction, AppointmentFunctionKind};
use super::BuiltInFunction;
use crate::base::clock::Clock;
use crate::config::{ConfigError, Settings};
use crate::storage::AppointmentStore;

pub(crate) use definitions::function_definitions;
pub(crate) use event::operator_event_builder;

/// The three functions; none unless `appointments.enabled`.
///
/// # Errors
/// Settings that were not checked and cannot be used.
pub fn built_in_functions(
    settings: &Settings,
    store: Arc<dyn AppointmentStore>,
    clock: Clock,
) -> Result<Vec<BuiltInFunction>, ConfigError> {
    if !settings.appointments.enabled {
        return Ok(Vec::new());
    }
    let desk = Arc::new(BookingService::new(settings, store, clock)?);
    let told = function_definitions(settings).into_iter().zip([
        AppointmentFunctionKind::Book,
        AppointmentFunctionKind::Change,
        AppointmentFunctionKind::Cancel,
    ]);
    Ok(told
        .map(|(told, errand)| BuiltInFunction {
            name: told.name,
            description: told.description,
            parameters: told.parameters.unwrap_or_default().into(),
            function: Arc::new(AppointmentFunction(errand, Arc::clone(&desk))),
        })
        .collect())
}
