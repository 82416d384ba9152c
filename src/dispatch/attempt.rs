//! One attempt: the handler gets the event, within its time.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::clock::Clock;
use crate::handlers::{AttemptResult, Context, Outcome, RegisteredHandler};
use crate::security::redact;
use crate::storage::{AttemptRecord, ClaimedDelivery};

/// Longest beginning of an answer that is kept.
const MAX_RESPONSE_BYTES: usize = 500;

/// An attempt that has ended.
pub(super) struct FinishedAttempt {
    pub(super) claimed: ClaimedDelivery,
    pub(super) outcome: Outcome,
    pub(super) record: AttemptRecord,
}

/// Gives a delivery to its handler. A panic or a time-out is a failed attempt, to be tried again.
pub(super) async fn run_attempt(
    registered: Arc<RegisteredHandler>,
    claimed: ClaimedDelivery,
    clock: Clock,
    stopping: CancellationToken,
) -> FinishedAttempt {
    let (began, started_at_ms) = (Instant::now(), clock.now_ms());
    let attempt = claimed.previous_attempts + 1;
    // Cancelled when this future ends, however it ends.
    let cancellation = stopping.child_token();
    let _cancels = cancellation.clone().drop_guard();
    let context = build_context(&claimed, attempt, began + registered.delivery.attempt_timeout, cancellation);
    let run = AssertUnwindSafe(call_handler(&registered, &claimed, &context)).catch_unwind();
    let tried = match tokio::time::timeout_at(context.deadline, run).await {
        Ok(Ok(tried)) => tried,
        Ok(Err(_)) => Outcome::retry("the handler panicked").into(),
        Err(_) => {
            Outcome::retry(format!("no result within {} ms", registered.delivery.attempt_timeout.as_millis())).into()
        }
    };
    let record = build_record(&tried, attempt, started_at_ms, began);
    FinishedAttempt { claimed, outcome: tried.outcome, record }
}

async fn call_handler(registered: &RegisteredHandler, claimed: &ClaimedDelivery, context: &Context) -> AttemptResult {
    match &claimed.event.body {
        Ok(body) => registered.handler.deliver(&claimed.event.summary, body, context).await,
        Err(why) => Outcome::fail(why).into(),
    }
}

fn build_context(
    claimed: &ClaimedDelivery,
    attempt: u32,
    deadline: Instant,
    cancellation: CancellationToken,
) -> Context {
    let event = &claimed.event.summary;
    let mut context = Context::new(event.id, (event.company_id, &event.company), event.received_at_ms);
    context.attempt = attempt;
    context.revision_of = event.revision_of;
    context.replay = claimed.is_replay;
    context.deadline = deadline;
    context.cancellation = cancellation;
    context
}

fn build_record(tried: &AttemptResult, attempt: u32, started_at_ms: i64, began: Instant) -> AttemptRecord {
    let (outcome, error) = match &tried.outcome {
        Outcome::Done => ("done", None),
        Outcome::Retry { reason, .. } => ("retry", Some(reason.clone())),
        Outcome::Fail { reason } => ("fail", Some(reason.clone())),
    };
    AttemptRecord {
        attempt,
        started_at_ms,
        duration_ms: i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX),
        outcome: outcome.to_owned(),
        status: tried.status,
        error,
        answer: tried.response_excerpt.as_deref().map(redact_response),
    }
}

/// The beginning of an answer, without what could be about a person or a secret.
fn redact_response(answer: &str) -> String {
    let printable: String = answer.chars().filter(|c| !c.is_control()).take(2 * MAX_RESPONSE_BYTES).collect();
    let mut hidden = redact::text(&printable);
    hidden.truncate(hidden.floor_char_boundary(MAX_RESPONSE_BYTES));
    hidden
}
