//! `cancel_appointment`.

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
        let now = self
            .find_appointment(arguments, arguments::parse_current_time_hint(arguments, &self.calendar, self.now_ms))
            .await?;
        if !now.cancelled && now.end_ms <= self.now_ms {
            return Ok(answer::not_found("That appointment is over, so there is nothing to cancel."));
        }
        let cancelling = AppointmentCancellation { context: self.booking_context(), appointment_id: now.id };
        match self.with_deadline(self.booking_service.store.cancel_appointment(cancelling)).await? {
            BookingOutcome::Done(action, appointment) => {
                Ok(answer::completed_action(action, &appointment, &self.calendar, self.now_ms))
            }
            _ => Ok(answer::not_found("I cannot find that appointment any more.")),
        }
    }
}
