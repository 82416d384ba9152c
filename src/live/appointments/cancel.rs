//! `cancel_appointment`: cancels an appointment and frees its slot.

use serde_json::{Map, Value};

use super::booking_service::AppointmentInvocation;
use super::{answer, arguments};
use crate::live::FunctionOutcome;
use crate::storage::{AppointmentCancellation, BookingOutcome};

impl AppointmentInvocation<'_> {
    pub(super) async fn cancel(&self, arguments: &Map<String, Value>) -> Result<FunctionOutcome, FunctionOutcome> {
        if let Some(BookingOutcome::Done(action, appointment)) = self.previous_outcome().await? {
            return Ok(answer::completed_action(action, &appointment, &self.calendar, self.now_ms));
        }
        let hint = arguments::parse_current_time_hint(arguments, &self.calendar, self.now_ms);
        let appointment = self.find_appointment(arguments, hint).await?;
        // One that is canceled already is confirmed again by the store, also when its time has passed.
        if !appointment.cancelled && appointment.end_ms <= self.now_ms {
            return Ok(answer::not_found("That appointment is in the past, so there is nothing to cancel."));
        }
        let cancellation = AppointmentCancellation { context: self.booking_context(), appointment_id: appointment.id };
        match self.with_deadline(self.booking_service.store.cancel_appointment(cancellation)).await? {
            BookingOutcome::Done(action, appointment) => {
                self.log_booking(action, &appointment);
                Ok(answer::completed_action(action, &appointment, &self.calendar, self.now_ms))
            }
            _ => Ok(answer::not_found("Sorry, I can no longer find that appointment.")),
        }
    }
}
