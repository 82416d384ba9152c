//! One attempt: the handler gets the event, within its time.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::clock::Clock;
use crate::handlers::{Attempt, Context, Outcome, Registered};
use crate::security::redact;
use crate::storage::{AttemptRecord, Claimed};

/// Longest beginning of an answer that is kept.
const LONGEST_ANSWER: usize = 500;

/// An attempt that has ended.
pub(super) struct Finished {
    pub(super) claimed: Claimed,
    pub(super) outcome: Outcome,
    pub(super) record: AttemptRecord,
}

/// Gives a delivery to its handler. A panic or a time-out is a failed attempt, to be tried again.
pub(super) async fn attempt(
    registered: Arc<Registered>,
    claimed: Claimed,
    clock: Clock,
    stopping: CancellationToken,
) -> Finished {
    let (began, started_at_ms) = (Instant::now(), clock.now_ms());
    let attempt = claimed.attempts + 1;
    // Cancelled when this future ends, however it ends.
    let cancellation = stopping.child_token();
    let _cancels = cancellation.clone().drop_guard();
    let context = context(&claimed, attempt, began + registered.delivery.timeout, cancellation);
    let run = AssertUnwindSafe(deliver(&registered, &claimed, &context)).catch_unwind();
    let tried = match tokio::time::timeout_at(context.deadline, run).await {
        Ok(Ok(tried)) => tried,
        Ok(Err(_)) => Outcome::retry("the handler panicked").into(),
        Err(_) => Outcome::retry(format!("no result within {} ms", registered.delivery.timeout.as_millis())).into(),
    };
    let record = record(&tried, attempt, started_at_ms, began);
    Finished { claimed, outcome: tried.outcome, record }
}

async fn deliver(registered: &Registered, claimed: &Claimed, context: &Context) -> Attempt {
    match &claimed.event.body {
        Ok(body) => registered.handler.deliver(&claimed.event.summary, body, context).await,
        Err(why) => Outcome::fail(why).into(),
    }
}

fn context(claimed: &Claimed, attempt: u32, deadline: Instant, cancellation: CancellationToken) -> Context {
    let event = &claimed.event.summary;
    let mut context = Context::new(event.id, (event.company_id, &event.company), event.received_at_ms);
    context.attempt = attempt;
    context.revision_of = event.revision_of;
    context.replay = claimed.replay;
    context.deadline = deadline;
    context.cancellation = cancellation;
    context
}

fn record(tried: &Attempt, attempt: u32, started_at_ms: i64, began: Instant) -> AttemptRecord {
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
        answer: tried.answer.as_deref().map(kept),
    }
}

/// The beginning of an answer, without what could be about a person or a secret.
fn kept(answer: &str) -> String {
    let printable: String = answer.chars().filter(|c| !c.is_control()).take(2 * LONGEST_ANSWER).collect();
    let mut hidden = redact::text(&printable);
    hidden.truncate(hidden.floor_char_boundary(LONGEST_ANSWER));
    hidden
}
