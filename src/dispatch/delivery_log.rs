//! Log messages about deliveries and circuit breakers.

use super::breaker::BreakerDecision;
use crate::base::id::EventId;
use crate::storage::Settlement;

/// Logs how a delivery was settled. A success at the first attempt is only counted in the metrics: at full load it
/// would be most of the log. `attempts` is the number of attempts made so far.
pub(super) fn log_settlement(handler: &str, event_id: EventId, attempts: u32, settlement: &Settlement) {
    match settlement {
        Settlement::Succeeded if attempts > 1 => {
            tracing::info!(handler, %event_id, attempts, "delivery succeeded after retry");
        }
        Settlement::Succeeded | Settlement::Skipped { .. } | Settlement::Released => {}
        Settlement::Scheduled { next_attempt_at_ms, error } => {
            tracing::warn!(handler, %event_id, attempts, retry_at_ms = next_attempt_at_ms, error, "delivery failed");
        }
        Settlement::Dead { error } => {
            tracing::error!(handler, %event_id, attempts, error, "delivery dead");
        }
    }
}

pub(super) fn log_breaker_state(handler: &str, decision: BreakerDecision) {
    match decision {
        BreakerDecision::DenyUntil(retry_at_ms) => tracing::warn!(handler, retry_at_ms, "circuit breaker opened"),
        BreakerDecision::Probe => tracing::info!(handler, "circuit breaker half-open"),
        BreakerDecision::Allow => tracing::info!(handler, "circuit breaker closed"),
    }
}
