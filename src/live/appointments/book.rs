//! `collect_appointment_information`: books.

use serde_json::{Map, Value};

use super::booking_service::AppointmentInvocation;
use super::{answer, arguments};
use crate::base::id::random_spoken_code;
use crate::live::FunctionOutcome;
use crate::storage::{AppointmentSlot, BookingOutcome, BookingRequest, sanitize_text};

/// Offered to the store; more than one, since it may be taken.
const CONFIRMATION_CANDIDATES: usize = 8;

impl AppointmentInvocation<'_> {
    pub(super) async fn book(&self, arguments: &Map<String, Value>) -> Result<FunctionOutcome, FunctionOutcome> {
        let (calendar, now_ms) = (&self.calendar, self.now_ms);
        if let Some(BookingOutcome::Done(action, appointment)) = self.previous_outcome().await? {
            return Ok(answer::completed_booking(action, &appointment, calendar, now_ms));
        }
        let (name, name_key) =
            arguments::parse_name(arguments).ok_or_else(|| answer::invalid("Under which name may I book it?"))?;
        let service =
            calendar.find_service(arguments::find_text(arguments, &["service"]).as_deref()).map_err(answer::invalid)?;
        let start_ms = arguments::parse_start_ms(arguments, calendar, now_ms, None).map_err(answer::invalid)?;
        let minutes = service.minutes;
        if let Some(why) = arguments::check_start(start_ms, minutes, calendar, now_ms).map_err(answer::invalid)? {
            return self.offer_alternatives(&why, start_ms, minutes).await;
        }
        let slot = self.new_slot(start_ms, minutes, service.name);
        let booking = self.new_booking(slot, (name, name_key));
        match self.with_deadline(self.booking_service.store.book_appointment(booking)).await? {
            BookingOutcome::Done(action, appointment) => {
                Ok(answer::completed_booking(action, &appointment, calendar, now_ms))
            }
            _ => self.offer_alternatives("That time is taken.", start_ms, minutes).await,
        }
    }

    fn new_booking(&self, slot: AppointmentSlot, (name, name_key): (String, String)) -> BookingRequest {
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

    /// Free times instead.
    pub(super) async fn offer_alternatives(
        &self,
        why: &str,
        from_ms: i64,
        minutes: u16,
    ) -> Result<FunctionOutcome, FunctionOutcome> {
        let free = self.find_free_slots(from_ms, minutes).await?;
        Ok(answer::unavailable(why, &free, minutes, &self.calendar, self.now_ms))
    }
}
