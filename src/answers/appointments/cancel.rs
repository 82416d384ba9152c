//! `cancel_appointment`.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::desk::{Desk, Visit};
use super::{answer, asked};
use crate::answers::{Called, Function, FunctionContext};
use crate::storage::{Arranged, Cancelling};

pub(super) struct Cancel(pub(super) Arc<Desk>);

#[async_trait]
impl Function for Cancel {
    async fn call(&self, arguments: &Map<String, Value>, context: &FunctionContext) -> Called {
        let visit = self.0.visit(context);
        visit.cancel(arguments).await.unwrap_or_else(|instead| instead)
    }

    async fn still_holds(&self, context: &FunctionContext) -> bool {
        self.0.visit(context).still_holds().await
    }

    fn checks_arguments(&self) -> bool {
        true
    }

    fn fallback(&self) -> Option<Map<String, Value>> {
        Some(answer::away())
    }
}

impl Visit<'_> {
    async fn cancel(&self, arguments: &Map<String, Value>) -> Result<Called, Called> {
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
