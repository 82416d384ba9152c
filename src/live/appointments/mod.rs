//! Appointments: three functions with which an agent books, moves and cancels them during a call.
//!
//! A slot is never booked twice. The free times that an invocation has read may be outdated when it books; the unique
//! keys of the store decide.

mod answer;
mod arguments;
mod book;
mod booking_service;
mod calendar;
mod cancel;
mod change;
mod definitions;
mod find_appointment;
mod function;
mod parse;
mod person_name;
mod schema;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::booking_service::BookingService;
use self::function::{AppointmentFunction, AppointmentFunctionKind};
use super::BuiltInFunction;
use crate::base::clock::Clock;
use crate::config::{FieldError, Settings};
use crate::storage::AppointmentStore;

pub(crate) use definitions::function_definitions;

/// The three appointment functions, or an empty list unless `appointments.enabled` is set.
///
/// # Errors
/// A setting that [`Settings`] validation would have rejected, such as an unknown time zone.
pub fn built_in_functions(
    settings: &Settings,
    store: Arc<dyn AppointmentStore>,
    clock: Clock,
) -> Result<Vec<BuiltInFunction>, FieldError> {
    if !settings.appointments.enabled {
        return Ok(Vec::new());
    }
    let booking_service = Arc::new(BookingService::new(settings, store, clock)?);
    // In the order of `function_definitions`.
    let kinds = [AppointmentFunctionKind::Book, AppointmentFunctionKind::Change, AppointmentFunctionKind::Cancel];
    let functions = function_definitions(settings).into_iter().zip(kinds).map(|(definition, kind)| BuiltInFunction {
        name: definition.name,
        description: definition.description,
        parameters: definition.parameters.unwrap_or_default().into(),
        function: Arc::new(AppointmentFunction { kind, booking_service: Arc::clone(&booking_service) }),
        policy: AppointmentFunction::policy(&booking_service),
    });
    Ok(functions.collect())
}
