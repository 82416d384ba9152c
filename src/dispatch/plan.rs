//! Decides which deliveries an event becomes, and how a delivery is settled after an attempt. No I/O and no clock, so
//! every decision can be tested with values.

use std::time::Duration;

use bytes::Bytes;

use crate::base::clock::to_ms;
use crate::config::{DeliverySettings, RevisionPolicy, TranscriptPolicy};
use crate::event::EventKind;
use crate::handlers::{Outcome, RegisteredHandler};
use crate::storage::{ClaimedDelivery, EventSummary, PlannedDelivery, Settlement, SkipReason, StoredEvent};

/// Ids of test calls and test chats start with one of these.
const TEST_ID_PREFIXES: [&str; 2] = ["call_test_", "chat_test_"];
/// Longest error text that is stored, in bytes.
const MAX_ERROR_BYTES: usize = 500;
/// Upper limit of the wait that a handler (or the `Retry-After` of its destination) can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// The delivery that an event becomes for a handler; `None` when the handler's filter does not match. A skipped
/// delivery gets a row too, so that an operator can see why it was not attempted and replay it.
pub(super) fn plan_delivery(
    handler: &RegisteredHandler,
    event: &EventSummary,
    body: Option<&Bytes>,
) -> Option<PlannedDelivery> {
    // A body that cannot be read must not exclude the event for good. The filter is applied to it when it was read for
    // an attempt.
    let body_unread = handler.filter.needs_body() && body.is_none();
    let matches_filter =
        if body_unread { handler.filter.may_match(event) } else { handler.filter.matches(event, body) };
    if !matches_filter {
        return None;
    }
    // Each `transcript_updated` event contains the whole transcript so far, so the latest one replaces those still
    // waiting.
    let latest_only = handler.delivery.transcripts == TranscriptPolicy::Latest;
    let supersedes = latest_only && event.kind.as_deref() == Some(EventKind::TranscriptUpdated.as_str());
    Some(PlannedDelivery {
        skip_reason: skip_reason(handler, event),
        supersedes,
        body_unread,
        ..PlannedDelivery::new(event.seq)
    })
}

/// Whether the filter excludes a claimed delivery that was planned while its body could not be read.
pub(super) fn is_excluded(handler: &RegisteredHandler, claimed: &ClaimedDelivery) -> bool {
    // A replay delivers what the filter excludes.
    let is_unfiltered = claimed.body_unread && !claimed.is_replay && handler.filter.needs_body();
    let StoredEvent { summary, body } = &claimed.event;
    is_unfiltered && body.as_ref().is_ok_and(|body| !handler.filter.matches(summary, Some(body)))
}

fn skip_reason(handler: &RegisteredHandler, event: &EventSummary) -> Option<SkipReason> {
    let call_id = event.call_id.as_deref().unwrap_or_default();
    let is_test = TEST_ID_PREFIXES.iter().any(|prefix| call_id.starts_with(prefix));
    if !handler.enabled {
        Some(SkipReason::HandlerDisabled)
    } else if is_test && handler.handler.has_external_effects() && !is_effects_requested(event) {
        Some(SkipReason::TestCall)
    } else if event.revision_of.is_some() && handler.delivery.revisions == RevisionPolicy::Skip {
        Some(SkipReason::Revision)
    } else {
        None
    }
}

/// Whether the sender of a test event asked for external effects, with `?effects=true` in the webhook URL.
fn is_effects_requested(event: &EventSummary) -> bool {
    let query = event.query.as_deref().unwrap_or_default();
    query.split('&').any(|pair| matches!(pair, "effects=true" | "effects=1"))
}

/// The facts about an attempt that its settlement depends on.
pub(super) struct RetryInput {
    /// Number of the attempt, counted from 1.
    pub(super) attempt: u32,
    /// Time since the delivery was planned, retried or replayed.
    pub(super) age: Duration,
    /// Random number between 0 and 1 that spreads the retry.
    pub(super) jitter: f64,
}

/// Decides how a delivery is settled after an attempt: succeeded, skipped, scheduled for a retry, or dead.
pub(super) fn decide_settlement(
    input: &RetryInput,
    outcome: &Outcome,
    settings: &DeliverySettings,
    now_ms: i64,
) -> Settlement {
    let (after, reason) = match outcome {
        Outcome::Done => return Settlement::Succeeded,
        Outcome::Skip { .. } => return Settlement::Skipped { reason: SkipReason::NothingToDo },
        Outcome::Fail { reason } => return Settlement::Dead { error: truncate_error(reason) },
        Outcome::Retry { after, reason } => (after, reason),
    };
    // Entry n of the schedule is the wait after attempt n. A wait that the handler asks for replaces the entry, but
    // it still uses one up: the number of attempts is bounded in any case.
    let index = usize::try_from(input.attempt).unwrap_or(usize::MAX).saturating_sub(1);
    let Some(scheduled) = settings.retry_schedule.get(index) else {
        return Settlement::Dead { error: truncate_error(reason) };
    };
    let wait = match after {
        Some(after) => (*after).min(MAX_RETRY_AFTER),
        None => with_jitter(*scheduled, input.jitter),
    };
    // Dead now rather than at the time of the retry: the operator sees it at once, and later events of the call go
    // first.
    if input.age + wait > settings.max_age {
        return Settlement::Dead { error: truncate_error(&format!("next attempt would exceed max_age_ms: {reason}")) };
    }
    let wait_ms = to_ms(wait);
    Settlement::Scheduled { next_attempt_at_ms: now_ms.saturating_add(wait_ms), error: truncate_error(reason) }
}

/// Dead when a delivery that waits for its attempt exceeds `max_age_ms`: after a long outage, an event of last week
/// would do more harm than good.
pub(super) fn settle_if_expired(age: Duration, settings: &DeliverySettings) -> Option<Settlement> {
    if age <= settings.max_age {
        return None;
    }
    let hours = settings.max_age.as_secs_f64() / 3_600.0;
    Some(Settlement::Dead { error: format!("waited longer than max_age_ms ({hours:.1} h)") })
}

/// Up to a fifth shorter or longer, so that deliveries that failed together are not retried together.
fn with_jitter(wait: Duration, jitter: f64) -> Duration {
    wait.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}

fn truncate_error(reason: &str) -> String {
    reason[..reason.floor_char_boundary(MAX_ERROR_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settlement_after(attempt: u32, outcome: &Outcome, jitter: f64) -> Settlement {
        decide_settlement(
            &RetryInput { attempt, age: Duration::ZERO, jitter },
            outcome,
            &DeliverySettings::default(),
            0,
        )
    }

    #[test]
    fn retries_follow_the_schedule_until_it_ends() {
        let mut waits = Vec::new();
        let mut attempt = 1;
        while let Settlement::Scheduled { next_attempt_at_ms, .. } =
            settlement_after(attempt, &Outcome::retry("down"), 0.5)
        {
            waits.push(next_attempt_at_ms);
            attempt += 1;
        }
        assert_eq!(waits, [5_000, 30_000, 120_000, 600_000, 3_600_000, 21_600_000, 86_400_000]);
        assert_eq!(settlement_after(8, &Outcome::retry("down"), 0.5), Settlement::Dead { error: "down".into() });
    }

    #[test]
    fn jitter_changes_waits_by_up_to_a_fifth() {
        let wait = |jitter| match settlement_after(2, &Outcome::retry("down"), jitter) {
            Settlement::Scheduled { next_attempt_at_ms, .. } => next_attempt_at_ms,
            other => panic!("{other:?}"),
        };
        assert_eq!((wait(0.0), wait(1.0)), (24_000, 36_000));
    }

    #[test]
    fn a_handler_can_set_the_wait_and_can_fail_for_good() {
        let soon = Outcome::retry_after(Duration::from_secs(1), "busy");
        assert!(matches!(settlement_after(1, &soon, 0.0), Settlement::Scheduled { next_attempt_at_ms: 1_000, .. }));
        let long = Outcome::fail("x".repeat(900));
        assert!(matches!(settlement_after(1, &long, 0.0), Settlement::Dead { error } if error.len() == 500));
        assert_eq!(settlement_after(3, &Outcome::Done, 0.0), Settlement::Succeeded);
        let skipped = Settlement::Skipped { reason: SkipReason::NothingToDo };
        assert_eq!(settlement_after(1, &Outcome::skip("no template"), 0.0), skipped);
    }

    #[test]
    fn a_delivery_is_dead_once_it_exceeds_max_age() {
        let settings = DeliverySettings { max_age: Duration::from_secs(60), ..DeliverySettings::default() };
        let input = |age| RetryInput { attempt: 2, age: Duration::from_secs(age), jitter: 0.5 };
        assert!(matches!(
            decide_settlement(&input(20), &Outcome::retry("x"), &settings, 0),
            Settlement::Scheduled { .. }
        ));
        assert!(matches!(decide_settlement(&input(40), &Outcome::retry("x"), &settings, 0), Settlement::Dead { .. }));
        assert!(settle_if_expired(Duration::from_secs(61), &settings).is_some());
        assert!(settle_if_expired(Duration::from_secs(60), &settings).is_none());
    }
}
