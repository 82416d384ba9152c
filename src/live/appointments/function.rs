//! The three appointment functions as the function registry calls them.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use serde_json::{Map, Value};

use super::answer;
use super::booking_service::BookingService;
use crate::live::{Function, FunctionContext, FunctionOutcome, FunctionPolicy};

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

impl AppointmentFunction {
    /// An answer is repeated only while the appointment is as the earlier invocation left it.
    pub(super) fn policy(booking_service: &Arc<BookingService>) -> FunctionPolicy {
        let booking_service = Arc::clone(booking_service);
        let is_outcome_current = move |context: FunctionContext| {
            let booking_service = Arc::clone(&booking_service);
            async move { booking_service.new_invocation(&context).is_outcome_current().await }.boxed()
        };
        FunctionPolicy {
            checks_arguments: true,
            fallback: Some(answer::store_unavailable()),
            can_reuse_answer: Some(Arc::new(is_outcome_current)),
            ..FunctionPolicy::default()
        }
    }
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
        let outcome = result.unwrap_or_else(|early| early);
        answer::with_today(outcome, &invocation.calendar, invocation.now_ms)
    }
}
