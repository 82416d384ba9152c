//! Which appointment a caller speaks of.

use serde_json::{Map, Value};

use super::booking_service::AppointmentInvocation;
use super::{answer, arguments};
use crate::live::{FunctionContext, FunctionOutcome};
use crate::security::phone_number;
use crate::storage::{Appointment, AppointmentFilter};

/// More of one name are not told apart.
const MAX_NAME_MATCHES: usize = 200;

impl AppointmentInvocation<'_> {
    /// By confirmation number; else by the name, among those booked in this call or between the same two numbers, if it is one,
    /// or one of them was at the date and time told.
    /// A name alone opens nothing: anybody can say one.
    pub(super) async fn find_appointment(
        &self,
        arguments: &Map<String, Value>,
        then: arguments::CurrentTimeHint,
    ) -> Result<Appointment, FunctionOutcome> {
        let company_id = Some(self.context.company_id);
        if let Some(confirmation) = arguments::parse_confirmation_number(arguments) {
            let filter = AppointmentFilter {
                company_id,
                confirmation: Some(confirmation),
                limit: Some(1),
                ..AppointmentFilter::default()
            };
            let found = self.with_deadline(self.booking_service.store.list_appointments(filter)).await?.pop();
            return found.ok_or_else(|| {
                answer::not_found("I cannot find an appointment with that confirmation number. Could you repeat it?")
            });
        }
        let (_, name_key) =
            arguments::parse_name(arguments).ok_or_else(|| answer::invalid("What is the confirmation number?"))?;
        let filter = AppointmentFilter {
            company_id,
            name_key: Some(name_key),
            since_ms: Some(self.now_ms),
            limit: Some(MAX_NAME_MATCHES),
            ..AppointmentFilter::default()
        };
        let mut found = self.with_deadline(self.booking_service.store.list_appointments(filter)).await?;
        found.retain(|appointment| belongs_to_caller(appointment, self.context));
        if found.iter().any(|appointment| !appointment.cancelled) {
            found.retain(|appointment| !appointment.cancelled);
        } else if let Some(last) = found.iter().max_by_key(|appointment| appointment.updated_at_ms).map(|it| it.id) {
            // What was given up last is what is spoken of again.
            found.retain(|appointment| appointment.id == last);
        }
        if found.len() > 1 {
            let fits = |it: &Appointment| then.matches(self.calendar.to_local(it.start_ms));
            if found.iter().filter(|it| fits(it)).count() == 1 {
                found.retain(fits);
            }
        }
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => Err(answer::invalid("There are several. What is the confirmation number?")),
            (None, _) => Err(answer::not_found(
                "I cannot find an appointment under that name for this phone number. What is the confirmation number?",
            )),
        }
    }
}

/// Booked in the same call, or between the same two numbers, whoever called whom: the caller's own number is one of them. A
/// number that is withheld is none.
fn belongs_to_caller(appointment: &Appointment, context: &FunctionContext) -> bool {
    let same_call = appointment.call_id.is_some() && appointment.call_id == context.call_id;
    let (from, to) = (visible_number(appointment.from_number.as_ref()), visible_number(appointment.to_number.as_ref()));
    let (calling, called) = (visible_number(context.from_number.as_ref()), visible_number(context.to_number.as_ref()));
    let same_way = (from, to) == (calling, called);
    let back = (from, to) == (called, calling);
    same_call || (from.is_some() && (same_way || (back && to.is_some())))
}

fn visible_number(number: Option<&String>) -> Option<&str> {
    number.map(|number| number.trim()).filter(|number| !phone_number::is_withheld(number))
}
