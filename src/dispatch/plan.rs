//! What is to be done with an event, and what after an attempt. Pure.

use std::time::Duration;

use crate::config::{DeliverySettings, RevisionPolicy, TranscriptPolicy};
use crate::event::EventKind;
use crate::handlers::{Outcome, RegisteredHandler};
use crate::storage::{EventSummary, PlannedDelivery, Settlement, SkipReason};

/// Calls and chats with such an id are tests.
const TEST_ID_PREFIXES: [&str; 2] = ["call_test_", "chat_test_"];
/// Longest text of an error that is kept.
const MAX_ERROR_BYTES: usize = 500;
/// A handler may ask for a longer wait than the schedule's, but not for longer than this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// The delivery an event becomes for a handler, if it wants it. `fits` says whether the filter matches.
pub(super) fn plan_delivery(handler: &RegisteredHandler, event: &EventSummary, fits: bool) -> Option<PlannedDelivery> {
    let latest_only = handler.delivery.transcripts == TranscriptPolicy::Latest;
    let supersedes = latest_only && event.kind.as_deref() == Some(EventKind::TranscriptUpdated.as_str());
    fits.then(|| PlannedDelivery { seq: event.seq, skip_reason: skip_reason(handler, event), supersedes })
}

fn skip_reason(handler: &RegisteredHandler, event: &EventSummary) -> Option<SkipReason> {
    let is_test = event.call_id.as_deref().is_some_and(|id| TEST_ID_PREFIXES.iter().any(|start| id.starts_with(start)));
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

/// Whether the sender of a test event wants handlers to act on it: `?effects=true` behind the webhook's URL.
fn is_effects_requested(event: &EventSummary) -> bool {
    let query = event.query.as_deref().unwrap_or_default();
    query.split('&').any(|pair| matches!(pair, "effects=true" | "effects=1"))
}

/// One attempt, as the next step is decided on it.
pub(super) struct RetryInput {
    /// Its number, from 1.
    pub(super) attempt: u32,
    /// How long ago the delivery was made.
    pub(super) age: Duration,
    /// Between 0 and 1, by chance.
    pub(super) jitter: f64,
}

/// What becomes of a delivery after an attempt.
pub(super) fn decide_settlement(
    tried: &RetryInput,
    outcome: &Outcome,
    settings: &DeliverySettings,
    now_ms: i64,
) -> Settlement {
    let (after, reason) = match outcome {
        Outcome::Done => return Settlement::Succeeded,
        Outcome::Fail { reason } => return Settlement::Dead { error: truncate_error(reason) },
        Outcome::Retry { after, reason } => (after, reason),
    };
    let at = usize::try_from(tried.attempt).unwrap_or(usize::MAX).saturating_sub(1);
    let Some(scheduled) = settings.retry_schedule.get(at) else {
        return Settlement::Dead { error: truncate_error(reason) };
    };
    let wait = after.map_or_else(|| with_jitter(*scheduled, tried.jitter), |after| after.min(MAX_RETRY_AFTER));
    if tried.age + wait > settings.max_age {
        return Settlement::Dead { error: truncate_error(&format!("too old for another attempt: {reason}")) };
    }
    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    Settlement::Scheduled { next_attempt_at_ms: now_ms.saturating_add(wait_ms), error: truncate_error(reason) }
}

/// A delivery that became too old before anybody tried it.
pub(super) fn settle_if_expired(age: Duration, settings: &DeliverySettings) -> Option<Settlement> {
    let hours = settings.max_age.as_secs_f64() / 3_600.0;
    (age > settings.max_age)
        .then(|| Settlement::Dead { error: format!("it waited for longer than max_age_ms ({hours:.1} h)") })
}

/// A fifth shorter or longer, so that what failed together is not tried again together.
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
    fn retries_follow_the_schedule_and_then_end() {
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
    fn waits_are_a_fifth_shorter_or_longer() {
        let wait = |jitter| match settlement_after(2, &Outcome::retry("down"), jitter) {
            Settlement::Scheduled { next_attempt_at_ms, .. } => next_attempt_at_ms,
            other => panic!("{other:?}"),
        };
        assert_eq!((wait(0.0), wait(1.0)), (24_000, 36_000));
    }

    #[test]
    fn the_handler_may_say_when_and_may_give_up() {
        let soon = Outcome::retry_after(Duration::from_secs(1), "busy");
        assert!(matches!(settlement_after(1, &soon, 0.0), Settlement::Scheduled { next_attempt_at_ms: 1_000, .. }));
        let long = Outcome::fail("x".repeat(900));
        assert!(matches!(settlement_after(1, &long, 0.0), Settlement::Dead { error } if error.len() == 500));
        assert_eq!(settlement_after(3, &Outcome::Done, 0.0), Settlement::Succeeded);
    }

    #[test]
    fn nothing_waits_beyond_its_age() {
        let settings = DeliverySettings { max_age: Duration::from_secs(60), ..DeliverySettings::default() };
        let tried = |age| RetryInput { attempt: 2, age: Duration::from_secs(age), jitter: 0.5 };
        assert!(matches!(
            decide_settlement(&tried(20), &Outcome::retry("x"), &settings, 0),
            Settlement::Scheduled { .. }
        ));
        assert!(matches!(decide_settlement(&tried(40), &Outcome::retry("x"), &settings, 0), Settlement::Dead { .. }));
        assert!(settle_if_expired(Duration::from_secs(61), &settings).is_some());
        assert!(settle_if_expired(Duration::from_secs(60), &settings).is_none());
    }
}
