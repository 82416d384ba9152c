//! Appointments: functions that an agent calls while somebody is on the line. No time is given away twice: the store's keys
//! see to that, whatever two calls looked at before.

mod answer;
mod asked;
mod cancel;
mod change;
mod collect;
mod desk;
mod event;
mod find;
mod hours;
mod read;
#[cfg(test)]
mod said_tests;
mod schema;
#[cfg(test)]
mod summer_time_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::cancel::Cancel;
use self::change::Change;
use self::collect::Collect;
use self::desk::Desk;
use super::BuiltIn;
use crate::base::clock::Clock;
use crate::config::{ConfigError, Settings};
use crate::storage::AppointmentStore;

pub use event::announce_by_hand;
pub use read::{DateReading, TimeReading, Unclear, read_date, read_time};

/// The three functions; none unless `appointments.enabled`.
///
/// # Errors
/// Settings that were not checked and cannot be used.
pub fn built_ins(
    settings: &Settings,
    store: Arc<dyn AppointmentStore>,
    clock: Clock,
) -> Result<Vec<BuiltIn>, ConfigError> {
    if !settings.appointments.enabled {
        return Ok(Vec::new());
    }
    let desk = Arc::new(Desk::new(settings, store, clock)?);
    Ok(vec![
        BuiltIn {
            name: "collect_appointment_information".to_owned(),
            description: "Books an appointment, or says which times are free when that one is taken.".to_owned(),
            parameters: schema::collect(&settings.appointments),
            function: Arc::new(Collect(Arc::clone(&desk))),
        },
        BuiltIn {
            name: "change_appointment_details".to_owned(),
            description: "Moves an appointment to another date or time, or changes what it is for.".to_owned(),
            parameters: schema::change(&settings.appointments),
            function: Arc::new(Change(Arc::clone(&desk))),
        },
        BuiltIn {
            name: "cancel_appointment".to_owned(),
            description: "Cancels an appointment.".to_owned(),
            parameters: schema::cancel(),
            function: Arc::new(Cancel(desk)),
        },
    ])
}
