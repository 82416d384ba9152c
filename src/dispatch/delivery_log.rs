//! What the log says about deliveries.

use crate::base::id::EventId;
use crate::storage::{BreakerState, Settlement};

/// First successes are counted only; everything else is said.
pub(super) fn log_settlement(handler: &str, event_id: EventId, attempts: u32, settlement: &Settlement) {
    match settlement {
        Settlement::Succeeded if attempts > 1 => {
            tracing::info!(handler, %event_id, attempts, "webhook delivery succeeded after a retry");
        }
        Settlement::Succeeded | Settlement::Released => {}
        Settlement::Scheduled { error, .. } => {
            tracing::warn!(handler, %event_id, attempts, error, "webhook delivery failed; it is tried again");
        }
        Settlement::Dead { error } => {
            tracing::error!(
                handler, %event_id, attempts, error,
                "webhook delivery is dead: given up; `retell-webhook dead list` shows it"
            );
        }
    }
}

pub(super) fn log_breaker_state(handler: &str, state: BreakerState) {
    match state {
        BreakerState::Open => tracing::warn!(
            handler,
            "attempts failed too often and rest; events are kept, and the next attempt finds out whether it is better"
        ),
        BreakerState::HalfOpen => tracing::info!(handler, "one attempt finds out whether it is better"),
        BreakerState::Closed => tracing::info!(handler, "attempts are made again"),
    }
}
