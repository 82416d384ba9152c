//! `cancel_appointment`.

use serde_json::{Map, Value};

use super::desk::Visit;
use super::{answer, asked};
use crate::answers::Called;
use crate::storage::{Arranged, Cancelling};

impl Visit<'_> {
    pub(super) async fn cancel(&self, arguments: &Map<String, Value>) -> Result<Called, Called> {
        if let Some(Arranged::Done(deed, appointment)) = self.before().await? {
            return Ok(answer::done(deed, &appointment, &self.calendar, self.now_ms));
        }
        let now = self.find(arguments, asked::then(arguments, &self.calendar, self.now_ms)).await?;
        if !now.cancelled && now.end_ms <= self.now_ms {
            return Ok(answer::not_found("That appointment is over, so there is nothing to cancel."));
        }
        let cancelling = Cancelling { asked: self.asked(), id: now.id };
        match self.wait(self.desk.store.cancel_appointment(cancelling)).await? {
            Arranged::Done(deed, appointment) => Ok(answer::done(deed, &appointment, &self.calendar, self.now_ms)),
            _ => Ok(answer::not_found("I cannot find that appointment any more.")),
        }
    }
}
