//! Finds the appointment that a caller wants to change or cancel.

use serde_json::{Map, Value};

use super::booking_service::AppointmentInvocation;
use super::{answer, arguments};
use crate::config::normalize_name;
use crate::live::{FunctionContext, FunctionOutcome};
use crate::privacy::{number_spelling, phone_number};
use crate::storage::{Appointment, AppointmentFilter};

/// Appointments of one name that are examined. It bounds the query when very many share a name.
const MAX_NAME_MATCHES: usize = 200;

impl AppointmentInvocation<'_> {
    /// Finds it by confirmation number, or else by name.
    ///
    /// A name alone proves nothing, since any caller can say it. So only appointments are considered that were booked
    /// in this call or between the same two phone numbers. If several remain, `hint` (the current date and time as
    /// the caller remembers them) must select exactly one.
    pub(super) async fn find_appointment(
        &self,
        arguments: &Map<String, Value>,
        hint: arguments::CurrentTimeHint,
    ) -> Result<Appointment, FunctionOutcome> {
        if let Some(confirmation) = arguments::parse_confirmation_number(arguments) {
            return self.find_by_confirmation_number(confirmation).await;
        }
        let Some((name, name_key)) = arguments::parse_name(arguments) else {
            return Err(answer::invalid("What is your confirmation number, please?"));
        };
        // Appointments of earlier versions have a key with accents and titles.
        let earlier_key = Some(normalize_name(&name)).filter(|key| *key != name_key);
        let mut matches = self.list_of_caller(name_key).await?;
        if let Some(earlier_key) = earlier_key.filter(|_| matches.is_empty()) {
            matches = self.list_of_caller(earlier_key).await?;
        }
        self.select_appointment(matches, &hint)
    }

    async fn find_by_confirmation_number(&self, confirmation: String) -> Result<Appointment, FunctionOutcome> {
        let filter = AppointmentFilter {
            company_id: Some(self.context.company_id),
            confirmation: Some(confirmation),
            limit: Some(1),
            ..AppointmentFilter::default()
        };
        let mut appointments = self.with_deadline(self.booking_service.store.list_appointments(filter)).await?;
        appointments.pop().ok_or_else(|| {
            answer::not_found(
                "Sorry, I cannot find an appointment with that confirmation number. Could you repeat it, please?",
            )
        })
    }

    /// Appointments under a name that this caller may see.
    async fn list_of_caller(&self, name_key: String) -> Result<Vec<Appointment>, FunctionOutcome> {
        let filter = AppointmentFilter {
            company_id: Some(self.context.company_id),
            name_key: Some(name_key),
            since_ms: Some(self.now_ms),
            limit: Some(MAX_NAME_MATCHES),
            ..AppointmentFilter::default()
        };
        let mut matches = self.with_deadline(self.booking_service.store.list_appointments(filter)).await?;
        matches.retain(|appointment| belongs_to_caller(appointment, self.context));
        Ok(matches)
    }

    fn select_appointment(
        &self,
        mut matches: Vec<Appointment>,
        hint: &arguments::CurrentTimeHint,
    ) -> Result<Appointment, FunctionOutcome> {
        if matches.iter().any(|appointment| !appointment.cancelled) {
            matches.retain(|appointment| !appointment.cancelled);
        } else if let Some(latest) = matches.iter().max_by_key(|appointment| appointment.updated_at_ms) {
            // All are canceled: a repeated cancellation means the one that was canceled last.
            let latest_id = latest.id;
            matches.retain(|appointment| appointment.id == latest_id);
        }
        if matches.len() > 1 {
            let fits = |appointment: &Appointment| hint.matches(self.calendar.to_local(appointment.start_ms));
            if matches.iter().filter(|appointment| fits(appointment)).count() == 1 {
                matches.retain(fits);
            }
        }
        match (matches.pop(), matches.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => Err(answer::invalid(
                "I found more than one appointment under that name. What is the confirmation number, please?",
            )),
            (None, _) => Err(answer::not_found(
                "Sorry, I cannot find an appointment under that name for this phone number. \
                 What is the confirmation number, please?",
            )),
        }
    }
}

/// Whether the appointment was booked in this call, or in a call between the same two phone numbers in either
/// direction: a caller may book, and then be called back. A withheld number matches nothing.
fn belongs_to_caller(appointment: &Appointment, context: &FunctionContext) -> bool {
    let same_call = appointment.call_id.is_some() && appointment.call_id == context.call_id;
    let booked_from = visible_number(appointment.from_number.as_ref());
    let booked_to = visible_number(appointment.to_number.as_ref());
    let from = visible_number(context.from_number.as_ref());
    let to = visible_number(context.to_number.as_ref());
    let same_direction = (&booked_from, &booked_to) == (&from, &to);
    let reversed = (&booked_from, &booked_to) == (&to, &from);
    // Without these two `is_some`, calls with withheld numbers would all match one another.
    same_call || (booked_from.is_some() && (same_direction || (reversed && booked_to.is_some())))
}

fn visible_number(number: Option<&String>) -> Option<String> {
    number.filter(|number| !phone_number::is_withheld(number)).map(|number| number_spelling::normalize(number))
}
