//! The three functions, as the registry is given them: an errand at the desk.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::answer;
use super::booking_service::BookingService;
use crate::live::{Function, FunctionContext, FunctionOutcome};

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) enum AppointmentFunctionKind {
    /// `collect_appointment_information`.
    Book,
    /// `change_appointment_details`.
    Change,
    /// `cancel_appointment`.
    Cancel,
}

/// An errand, and where it is done.
pub(super) struct AppointmentFunction(pub(super) AppointmentFunctionKind, pub(super) Arc<BookingService>);

#[async_trait]
impl Function for AppointmentFunction {
    async fn call(&self, arguments: &Map<String, Value>, context: &FunctionContext) -> FunctionOutcome {
        let visit = self.1.new_invocation(context);
        let done = match self.0 {
            AppointmentFunctionKind::Book => visit.book(arguments).await,
            AppointmentFunctionKind::Change => visit.change(arguments).await,
            AppointmentFunctionKind::Cancel => visit.cancel(arguments).await,
        };
        done.unwrap_or_else(|instead| instead)
    }

    async fn can_reuse_answer(&self, context: &FunctionContext) -> bool {
        self.1.new_invocation(context).is_outcome_current().await
    }

    fn checks_arguments(&self) -> bool {
        true
    }

    fn fallback(&self) -> Option<Map<String, Value>> {
        Some(answer::store_unavailable())
    }
}
