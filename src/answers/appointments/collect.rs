//! `collect_appointment_information`: books.

use serde_json::{Map, Value};

use super::desk::Visit;
use super::{answer, asked};
use crate::answers::Called;
use crate::base::id::spoken_code;
use crate::storage::{Arranged, Booking, Slot, bounded};

/// Offered to the store; more than one, since it may be taken.
const CODES: usize = 8;

impl Visit<'_> {
    pub(super) async fn book(&self, arguments: &Map<String, Value>) -> Result<Called, Called> {
        let (calendar, now_ms) = (&self.calendar, self.now_ms);
        if let Some(Arranged::Done(deed, appointment)) = self.before().await? {
            return Ok(answer::booked(deed, &appointment, calendar, now_ms));
        }
        let (name, name_key) =
            asked::name(arguments).ok_or_else(|| answer::invalid("Under which name may I book it?"))?;
        let service = calendar.service(asked::text(arguments, &["service"]).as_deref()).map_err(answer::invalid)?;
        let start_ms = asked::moment(arguments, calendar, now_ms, None).map_err(answer::invalid)?;
        let minutes = service.minutes;
        if let Some(why) = asked::obstacle(start_ms, minutes, calendar, now_ms).map_err(answer::invalid)? {
            return self.instead(&why, start_ms, minutes).await;
        }
        let slot = self.slot(start_ms, minutes, service.name);
        let booking = self.booking(slot, (name, name_key));
        match self.wait(self.desk.store.book_appointment(booking)).await? {
            Arranged::Done(deed, appointment) => Ok(answer::booked(deed, &appointment, calendar, now_ms)),
            _ => self.instead("That time is taken.", start_ms, minutes).await,
        }
    }

    fn booking(&self, slot: Slot, (name, name_key): (String, String)) -> Booking {
        let context = self.context;
        Booking {
            asked: self.asked(),
            slot,
            confirmations: (0..CODES).map(|_| spoken_code()).collect(),
            name,
            name_key,
            from_number: bounded(context.from_number.clone()),
            to_number: bounded(context.to_number.clone()),
            call_id: bounded(context.call_id.clone()),
            time_zone: self.calendar.zone_name.clone(),
        }
    }

    pub(super) fn slot(&self, start_ms: i64, minutes: u16, service: Option<String>) -> Slot {
        let end_ms = start_ms + i64::from(minutes) * 60_000;
        Slot { start_ms, end_ms, service, capacity: self.calendar.capacity }
    }

    /// Free times instead.
    pub(super) async fn instead(&self, why: &str, from_ms: i64, minutes: u16) -> Result<Called, Called> {
        let free = self.free(from_ms, minutes).await?;
        Ok(answer::unavailable(why, &free, minutes, &self.calendar, self.now_ms))
    }
}
