//! `change_appointment_details`: moves an appointment, or changes its service.

use serde_json::{Map, Value};

use super::booking_service::AppointmentInvocation;
use super::{answer, arguments};
use crate::live::FunctionOutcome;
use crate::storage::{Appointment, AppointmentChange, BookingOutcome};

impl AppointmentInvocation<'_> {
    pub(super) async fn change(&self, arguments: &Map<String, Value>) -> Result<FunctionOutcome, FunctionOutcome> {
        let calendar = &self.calendar;
        let now_ms = self.now_ms;
        // First of all: a repeated invocation gets its recorded outcome, even if the arguments fit nothing any more.
        if let Some(BookingOutcome::Done(action, appointment)) = self.previous_outcome().await? {
            return Ok(answer::completed_action(action, &appointment, calendar, now_ms));
        }
        let hint = arguments::parse_current_time_hint_for_change(arguments, calendar, now_ms);
        let current = self.find_appointment(arguments, hint).await?;
        if current.cancelled {
            return Ok(answer::not_found("That appointment is already cancelled. Would you like to book a new one?"));
        }
        if current.end_ms <= now_ms {
            return Ok(answer::not_found("That appointment is in the past. Would you like to book a new one?"));
        }
        if !arguments::has_changes(arguments) {
            return Ok(answer::invalid("What date and time would you like to move it to?"));
        }
        let (service, minutes) = self.resolve_service(&current, arguments).map_err(answer::invalid)?;
        let current_start = calendar.to_local(current.start_ms);
        let start_ms =
            arguments::parse_start_ms(arguments, calendar, now_ms, Some(current_start)).map_err(answer::invalid)?;
        if let Some(reason) = arguments::check_start(start_ms, minutes, calendar, now_ms).map_err(answer::invalid)? {
            return self.offer_alternatives(&reason, start_ms, minutes).await;
        }
        let change = AppointmentChange {
            context: self.booking_context(),
            appointment_id: current.id,
            new_slot: self.new_slot(start_ms, minutes, service),
        };
        match self.with_deadline(self.booking_service.store.change_appointment(change)).await? {
            BookingOutcome::Done(action, appointment) => {
                self.log_booking(action, &appointment);
                Ok(answer::completed_action(action, &appointment, calendar, now_ms))
            }
            // Cancelled by another call or an operator since it was looked up above.
            BookingOutcome::NotFound => Ok(answer::not_found("That appointment has just been cancelled.")),
            BookingOutcome::Unavailable => {
                let reason = "Sorry, that time is already taken. Your appointment has not been changed.";
                self.offer_alternatives(reason, start_ms, minutes).await
            }
        }
    }

    /// Service and length in minutes after the change. Without `service` in the arguments both stay as they are, even
    /// if the configured length of the service has changed since.
    fn resolve_service(
        &self,
        current: &Appointment,
        arguments: &Map<String, Value>,
    ) -> Result<(Option<String>, u16), String> {
        if let Some(requested) = arguments::find_text(arguments, &["service"]) {
            let service = self.calendar.find_service(Some(&requested))?;
            return Ok((service.name, service.minutes));
        }
        let minutes = u16::try_from((current.end_ms - current.start_ms) / 60_000).unwrap_or(u16::MAX);
        Ok((current.service.clone(), minutes))
    }
}
