//! The three functions, as the registry is given them: an errand at the desk.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::answer;
use super::desk::Desk;
use crate::answers::{Called, Function, FunctionContext};

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) enum Errand {
    /// `collect_appointment_information`.
    Book,
    /// `change_appointment_details`.
    Change,
    /// `cancel_appointment`.
    Cancel,
}

/// An errand, and where it is done.
pub(super) struct AtDesk(pub(super) Errand, pub(super) Arc<Desk>);

#[async_trait]
impl Function for AtDesk {
    async fn call(&self, arguments: &Map<String, Value>, context: &FunctionContext) -> Called {
        let visit = self.1.visit(context);
        let done = match self.0 {
            Errand::Book => visit.book(arguments).await,
            Errand::Change => visit.change(arguments).await,
            Errand::Cancel => visit.cancel(arguments).await,
        };
        done.unwrap_or_else(|instead| instead)
    }

    async fn still_holds(&self, context: &FunctionContext) -> bool {
        self.1.visit(context).still_holds().await
    }

    fn checks_arguments(&self) -> bool {
        true
    }

    fn fallback(&self) -> Option<Map<String, Value>> {
        Some(answer::away())
    }
}
