//! `change_appointment_details`: moves, or changes what it is for.

use serde_json::{Map, Value};

use super::booking_service::AppointmentInvocation;
use super::{answer, arguments};
use crate::live::FunctionOutcome;
use crate::storage::{Appointment, AppointmentChange, BookingOutcome};

impl AppointmentInvocation<'_> {
    pub(super) async fn change(&self, arguments: &Map<String, Value>) -> Result<FunctionOutcome, FunctionOutcome> {
        let (calendar, now_ms) = (&self.calendar, self.now_ms);
        if let Some(BookingOutcome::Done(action, appointment)) = self.previous_outcome().await? {
            return Ok(answer::completed_action(action, &appointment, calendar, now_ms));
        }
        let now = self
            .find_appointment(arguments, arguments::parse_current_time_hint_for_change(arguments, calendar, now_ms))
            .await?;
        if now.cancelled {
            return Ok(answer::not_found("That appointment is cancelled. A new one can be booked."));
        }
        if now.end_ms <= now_ms {
            return Ok(answer::not_found("That appointment is over. A new one can be booked."));
        }
        if !arguments::has_changes(arguments) {
            return Ok(answer::invalid("To which date and time may I move it?"));
        }
        let (service, minutes) = self.resolve_service(&now, arguments).map_err(answer::invalid)?;
        let at = calendar.to_local(now.start_ms);
        let start_ms = arguments::parse_start_ms(arguments, calendar, now_ms, Some(at)).map_err(answer::invalid)?;
        if let Some(why) = arguments::check_start(start_ms, minutes, calendar, now_ms).map_err(answer::invalid)? {
            return self.offer_alternatives(&why, start_ms, minutes).await;
        }
        let moving = AppointmentChange {
            context: self.booking_context(),
            appointment_id: now.id,
            new_slot: self.new_slot(start_ms, minutes, service),
        };
        match self.with_deadline(self.booking_service.store.change_appointment(moving)).await? {
            BookingOutcome::Done(action, appointment) => {
                Ok(answer::completed_action(action, &appointment, calendar, now_ms))
            }
            BookingOutcome::NotFound => Ok(answer::not_found("That appointment was cancelled just now.")),
            BookingOutcome::Unavailable => {
                self.offer_alternatives("That time is taken; the appointment stays as it was.", start_ms, minutes).await
            }
        }
    }

    /// What it is for then, and how long it takes: as before unless something else was asked for.
    fn resolve_service(
        &self,
        now: &Appointment,
        arguments: &Map<String, Value>,
    ) -> Result<(Option<String>, u16), String> {
        match arguments::find_text(arguments, &["service"]) {
            Some(asked) => self.calendar.find_service(Some(&asked)).map(|service| (service.name, service.minutes)),
            None => Ok((now.service.clone(), u16::try_from((now.end_ms - now.start_ms) / 60_000).unwrap_or(u16::MAX))),
        }
    }
}
