//! Appointments: functions that an agent calls while somebody is on the line. No time is given away twice: the store's keys
//! see to that, whatever two calls looked at before.

mod answer;
mod asked;
mod cancel;
mod change;
mod collect;
mod desk;
mod errand;
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
mod tools;

use std::sync::Arc;

use self::desk::Desk;
use self::errand::{AtDesk, Errand};
use super::BuiltIn;
use crate::base::clock::Clock;
use crate::config::{ConfigError, Settings};
use crate::storage::AppointmentStore;

pub use event::announce_by_hand;
pub use read::{DateReading, TimeReading, Unclear, read_date, read_time};
pub use tools::tools;

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
    let told = tools(settings).into_iter().zip([Errand::Book, Errand::Change, Errand::Cancel]);
    Ok(told
        .map(|(told, errand)| BuiltIn {
            name: told.name,
            description: told.description,
            parameters: told.parameters.unwrap_or_default().into(),
            function: Arc::new(AtDesk(errand, Arc::clone(&desk))),
        })
        .collect())
}
