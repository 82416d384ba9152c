//! `collect_appointment_information`: books an appointment, or offers the next free times.

use serde_json::{Map, Value};

use super::booking_service::AppointmentInvocation;
use super::{answer, arguments};
use crate::base::id::random_spoken_code;
use crate::live::FunctionOutcome;
use crate::storage::{AppointmentSlot, BookingOutcome, BookingRequest, sanitize_text};

/// Random confirmation numbers offered to the store, which uses the first one that the company does not have yet. All
/// eight being in use is practically impossible.
const CONFIRMATION_CANDIDATES: usize = 8;

impl AppointmentInvocation<'_> {
    pub(super) async fn book(&self, arguments: &Map<String, Value>) -> Result<FunctionOutcome, FunctionOutcome> {
        let calendar = &self.calendar;
        let now_ms = self.now_ms;
        // Before any validation: the time that a repeated invocation booked may be in the past by now.
        if let Some(BookingOutcome::Done(action, appointment)) = self.previous_outcome().await? {
            return Ok(answer::completed_booking(action, &appointment, calendar, now_ms));
        }
        let Some((name, name_key)) = arguments::parse_name(arguments) else {
            return Err(answer::invalid("What name should I book it under?"));
        };
        let requested = arguments::find_text(arguments, &["service"]);
        let service = calendar.find_service(requested.as_deref()).map_err(answer::invalid)?;
        let start_ms = arguments::parse_start_ms(arguments, calendar, now_ms, None).map_err(answer::invalid)?;
        let minutes = service.minutes;
        if let Some(reason) = arguments::check_start(start_ms, minutes, calendar, now_ms).map_err(answer::invalid)? {
            return self.offer_alternatives(&reason, start_ms, minutes).await;
        }
        let slot = self.new_slot(start_ms, minutes, service.name);
        let booking = self.new_booking(slot, name, name_key);
        match self.with_deadline(self.booking_service.store.book_appointment(booking)).await? {
            BookingOutcome::Done(action, appointment) => {
                self.log_booking(action, &appointment);
                Ok(answer::completed_booking(action, &appointment, calendar, now_ms))
            }
            _ => self.offer_alternatives("Sorry, that time is already taken.", start_ms, minutes).await,
        }
    }

    fn new_booking(&self, slot: AppointmentSlot, name: String, name_key: String) -> BookingRequest {
        let context = self.context;
        BookingRequest {
            context: self.booking_context(),
            slot,
            confirmation_candidates: (0..CONFIRMATION_CANDIDATES).map(|_| random_spoken_code()).collect(),
            name,
            name_key,
            from_number: sanitize_text(context.from_number.clone()),
            to_number: sanitize_text(context.to_number.clone()),
            call_id: sanitize_text(context.call_id.clone()),
            time_zone: self.calendar.time_zone_name.clone(),
        }
    }

    pub(super) fn new_slot(&self, start_ms: i64, minutes: u16, service: Option<String>) -> AppointmentSlot {
        let end_ms = start_ms + i64::from(minutes) * 60_000;
        AppointmentSlot { start_ms, end_ms, service, capacity: self.calendar.capacity }
    }

    /// Answers `unavailable`: the reason, and the next free times from `from_ms`.
    pub(super) async fn offer_alternatives(
        &self,
        reason: &str,
        from_ms: i64,
        minutes: u16,
    ) -> Result<FunctionOutcome, FunctionOutcome> {
        let free = self.find_free_slots(from_ms, minutes).await?;
        Ok(answer::unavailable(reason, &free, minutes, &self.calendar, self.now_ms))
    }
}
