//! Log messages about deliveries and circuit breakers.

use super::breaker::BreakerDecision;
use crate::base::token_bucket::TokenBucket;
use crate::event::EventKind;
use crate::storage::{EventOrigin, EventSummary, PlannedDelivery, Settlement, SkipReason};

/// Lines about successful deliveries per second and handler, and as a burst. At full load they would be most of the
/// log.
const SUCCESS_LINES_PER_SECOND: u32 = 50;
const SUCCESS_LINES_BURST: u32 = 100;

/// Logs the deliveries of one handler.
pub(super) struct DeliveryLog {
    /// `None` for a handler whose successful deliveries are logged at debug level only.
    success_limit: Option<TokenBucket>,
    suppressed: u64,
}

/// The facts of an attempt that its line shows.
pub(super) struct LoggedDelivery<'a> {
    pub(super) handler: &'a str,
    pub(super) event: &'a EventSummary,
    /// Number of attempts made so far.
    pub(super) attempts: u32,
    /// Whether the destination was asked.
    pub(super) was_sent: bool,
    pub(super) now_ms: i64,
}

impl DeliveryLog {
    pub(super) fn new(logs_deliveries: bool, now_ms: i64) -> Self {
        let limit = TokenBucket::new(SUCCESS_LINES_BURST, SUCCESS_LINES_PER_SECOND, now_ms.unsigned_abs());
        Self { success_limit: logs_deliveries.then_some(limit), suppressed: 0 }
    }

    /// Logs how a delivery was settled.
    pub(super) fn log_settlement(&mut self, delivery: &LoggedDelivery<'_>, settlement: &Settlement) {
        let LoggedDelivery { handler, attempts, .. } = *delivery;
        let event_id = delivery.event.id;
        match settlement {
            Settlement::Succeeded if attempts > 1 => {
                tracing::info!(handler, %event_id, attempts, "delivery succeeded after retry");
            }
            Settlement::Succeeded => self.log_success(delivery),
            Settlement::Skipped { reason } => {
                tracing::debug!(handler, %event_id, reason = reason.as_str(), "delivery skipped");
            }
            Settlement::Released => {}
            Settlement::Scheduled { next_attempt_at_ms, error } => {
                tracing::warn!(handler, %event_id, attempts, retry_at_ms = next_attempt_at_ms, error, "delivery failed");
            }
            Settlement::Dead { error } => {
                tracing::error!(handler, %event_id, attempts, error, "delivery dead");
            }
        }
    }

    fn log_success(&mut self, delivery: &LoggedDelivery<'_>) {
        let handler = delivery.handler;
        let event_id = delivery.event.id;
        let Some(limit) = self.success_limit.as_mut().filter(|_| delivery.was_sent) else {
            return tracing::debug!(handler, %event_id, "delivery succeeded");
        };
        if !limit.try_acquire(delivery.now_ms.unsigned_abs()) {
            self.suppressed += 1;
            return;
        }
        let event = event_kind(delivery.event);
        let call_id = delivery.event.call_id.as_deref();
        let suppressed = Some(std::mem::take(&mut self.suppressed)).filter(|suppressed| *suppressed > 0);
        tracing::info!(handler, %event_id, event, call_id, suppressed, "webhook event delivered");
    }
}

/// Logs what a handler does with a new event. With debug logging off this costs one comparison.
pub(super) fn log_routing(handler: &str, event: &EventSummary, planned: Option<&PlannedDelivery>) {
    let decision = match planned {
        None => "filtered",
        Some(planned) => planned.skip_reason.map_or("received", SkipReason::as_str),
    };
    let call_id = event.call_id.as_deref();
    tracing::debug!(handler, event_id = %event.id, event = event_kind(event), call_id, decision, "webhook event routed");
}

/// The kind, or `unknown`: a name from a request never reaches the log.
fn event_kind(event: &EventSummary) -> &str {
    let name = event.kind.as_deref();
    match event.origin {
        EventOrigin::Internal => name.unwrap_or_default(),
        _ => name.map_or(EventKind::Unknown, EventKind::from_name).as_str(),
    }
}

pub(super) fn log_breaker_state(handler: &str, decision: BreakerDecision) {
    match decision {
        BreakerDecision::DenyUntil(retry_at_ms) => tracing::warn!(handler, retry_at_ms, "circuit breaker opened"),
        BreakerDecision::Probe => tracing::info!(handler, "circuit breaker half-open"),
        BreakerDecision::Allow => tracing::info!(handler, "circuit breaker closed"),
    }
}
