//! One attempt: calls the handler with the event and a deadline, and records the outcome.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::clock::{Clock, to_ms};
use crate::calls::CallRecord;
use crate::handlers::{AttemptResult, Context, DestinationHealth, Outcome, RegisteredHandler};
use crate::privacy::redact;
use crate::storage::{AttemptOutcome, AttemptRecord, BodyErrorKind, ClaimedDelivery};

/// Longest excerpt of a response that is stored, in bytes.
const MAX_RESPONSE_BYTES: usize = 500;

/// An attempt that ended, before its settlement is decided.
pub(super) struct FinishedAttempt {
    pub(super) claimed: ClaimedDelivery,
    pub(super) outcome: Outcome,
    pub(super) health: DestinationHealth,
    pub(super) record: AttemptRecord,
    pub(super) call: Option<Box<CallRecord>>,
}

/// Delivers an event to its handler. A panic or a timeout counts as a failed attempt that is retried.
pub(super) async fn run_attempt(
    registered: Arc<RegisteredHandler>,
    claimed: ClaimedDelivery,
    clock: Clock,
    stopping: CancellationToken,
) -> FinishedAttempt {
    // Two clocks: the monotonic one measures durations and the deadline, the injected one dates the record.
    let started_at = Instant::now();
    let started_at_ms = clock.now_ms();
    let attempt_timeout = registered.delivery.attempt_timeout;
    let attempt = claimed.previous_attempts + 1;
    // Canceled whenever this future ends, also by the timeout: work that the handler has spawned must not outlive its
    // attempt, or it would overlap with the retry.
    let cancellation = stopping.child_token();
    let _cancel_on_drop = cancellation.clone().drop_guard();
    let context = build_context(&claimed, attempt, started_at + attempt_timeout, cancellation);
    // Unwind safe: after a panic nothing of the attempt is used any more. A panicking handler must not end the
    // worker, which would stop the whole service.
    let run = AssertUnwindSafe(call_handler(&registered, &claimed, &context)).catch_unwind();
    let result = match tokio::time::timeout_at(context.deadline, run).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Outcome::retry("the handler panicked").into(),
        Err(_) => Outcome::retry(format!("no result within {} ms", attempt_timeout.as_millis())).into(),
    };
    let record = build_record(&result, attempt, started_at_ms, started_at);
    FinishedAttempt { claimed, outcome: result.outcome, health: result.health, record, call: result.call }
}

async fn call_handler(registered: &RegisteredHandler, claimed: &ClaimedDelivery, context: &Context) -> AttemptResult {
    match &claimed.event.body {
        Ok(body) => registered.handler.deliver(&claimed.event.summary, body, context).await,
        // An error of the file system may pass, like an error of a destination.
        Err(error) if error.kind == BodyErrorKind::Unreadable => {
            AttemptResult::without_request(Outcome::retry(&error.reason))
        }
        Err(error) => AttemptResult::without_request(Outcome::fail(&error.reason)),
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

fn build_record(result: &AttemptResult, attempt: u32, started_at_ms: i64, started_at: Instant) -> AttemptRecord {
    let (outcome, error) = match &result.outcome {
        Outcome::Done => (AttemptOutcome::Done, None),
        Outcome::Skip { reason } => (AttemptOutcome::Done, Some(reason.clone())),
        Outcome::Retry { reason, .. } => (AttemptOutcome::Retry, Some(reason.clone())),
        Outcome::Fail { reason } => (AttemptOutcome::Fail, Some(reason.clone())),
    };
    AttemptRecord {
        attempt,
        started_at_ms,
        duration_ms: to_ms(started_at.elapsed()),
        outcome,
        status: result.status,
        error,
        answer: result.response_excerpt.as_deref().map(redact_response),
    }
}

/// The start of a response, without personal data and secrets.
fn redact_response(response: &str) -> String {
    // Cut twice: redaction reads a bounded text, with room for replacements, and its result is cut to the stored
    // size. Cut to size at first, a number at the end could lose the digits by which redaction recognizes it.
    let printable: String = response.chars().filter(|c| !c.is_control()).take(2 * MAX_RESPONSE_BYTES).collect();
    let mut redacted = redact::text(&printable);
    redacted.truncate(redacted.floor_char_boundary(MAX_RESPONSE_BYTES));
    redacted
}
