//! The three appointment functions as the function registry calls them.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::answer;
use super::booking_service::BookingService;
use crate::live::{Function, FunctionContext, FunctionOutcome};

#[derive(Clone, Copy)]
pub(super) enum AppointmentFunctionKind {
    Book,
    Change,
    Cancel,
}

pub(super) struct AppointmentFunction {
    pub(super) kind: AppointmentFunctionKind,
    pub(super) booking_service: Arc<BookingService>,
}

#[async_trait]
impl Function for AppointmentFunction {
    async fn call(&self, arguments: &Map<String, Value>, context: &FunctionContext) -> FunctionOutcome {
        let invocation = self.booking_service.new_invocation(context);
        let result = match self.kind {
            AppointmentFunctionKind::Book => invocation.book(arguments).await,
            AppointmentFunctionKind::Change => invocation.change(arguments).await,
            AppointmentFunctionKind::Cancel => invocation.cancel(arguments).await,
        };
        // `Err` is an early return, not a failure: a question to the caller, for example.
        result.unwrap_or_else(|early| early)
    }

    async fn can_reuse_answer(&self, context: &FunctionContext) -> bool {
        self.booking_service.new_invocation(context).is_outcome_current().await
    }

    fn checks_arguments(&self) -> bool {
        true
    }

    fn fallback(&self) -> Option<Map<String, Value>> {
        Some(answer::store_unavailable())
    }
}
