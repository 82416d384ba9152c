//! `change_appointment_details`: moves, or changes what it is for.

use serde_json::{Map, Value};

use super::desk::Visit;
use super::{answer, asked};
use crate::answers::Called;
use crate::storage::{Appointment, Arranged, Moving};

impl Visit<'_> {
    pub(super) async fn change(&self, arguments: &Map<String, Value>) -> Result<Called, Called> {
        let (calendar, now_ms) = (&self.calendar, self.now_ms);
        if let Some(Arranged::Done(deed, appointment)) = self.before().await? {
            return Ok(answer::done(deed, &appointment, calendar, now_ms));
        }
        let now = self.find(arguments, asked::then_beside_new(arguments, calendar, now_ms)).await?;
        if now.cancelled {
            return Ok(answer::not_found("That appointment is cancelled. A new one can be booked."));
        }
        if now.end_ms <= now_ms {
            return Ok(answer::not_found("That appointment is over. A new one can be booked."));
        }
        if !asked::is_change(arguments) {
            return Ok(answer::invalid("To which date and time may I move it?"));
        }
        let (service, minutes) = self.service_of(&now, arguments).map_err(answer::invalid)?;
        let at = calendar.local(now.start_ms);
        let start_ms = asked::moment(arguments, calendar, now_ms, Some(at)).map_err(answer::invalid)?;
        if let Some(why) = asked::obstacle(start_ms, minutes, calendar, now_ms).map_err(answer::invalid)? {
            return self.instead(&why, start_ms, minutes).await;
        }
        let moving = Moving { asked: self.asked(), id: now.id, slot: self.slot(start_ms, minutes, service) };
        match self.wait(self.desk.store.move_appointment(moving)).await? {
            Arranged::Done(deed, appointment) => Ok(answer::done(deed, &appointment, calendar, now_ms)),
            Arranged::NotFound => Ok(answer::not_found("That appointment was cancelled just now.")),
            Arranged::Unavailable => {
                self.instead("That time is taken; the appointment stays as it was.", start_ms, minutes).await
            }
        }
    }

    /// What it is for then, and how long it takes: as before unless something else was asked for.
    fn service_of(&self, now: &Appointment, arguments: &Map<String, Value>) -> Result<(Option<String>, u16), String> {
        match asked::text(arguments, &["service"]) {
            Some(asked) => self.calendar.service(Some(&asked)).map(|service| (service.name, service.minutes)),
            None => Ok((now.service.clone(), u16::try_from((now.end_ms - now.start_ms) / 60_000).unwrap_or(u16::MAX))),
        }
    }
}
