//! What follows from attempts that ended, and from deliveries that are not attempted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::attempt::FinishedAttempt;
use super::delivery_log;
use super::plan::{self, RetryInput};
use super::worker::Worker;
use crate::base::random;
use crate::handlers::Outcome;
use crate::storage::{SettledDelivery, Settlement};

impl Worker {
    /// Decides what becomes of a delivery after an attempt.
    pub(super) fn settle_attempt(&mut self, finished: FinishedAttempt) {
        let FinishedAttempt { claimed, outcome, record } = finished;
        let now_ms = self.now_ms();
        self.prefetch.finish_attempt(&claimed);
        self.counts.record_attempt_duration(record.duration_ms.unsigned_abs());
        if self.handler.handler.has_external_effects() {
            self.breaker.record_attempt(!matches!(outcome, Outcome::Retry { .. }), now_ms);
        }
        let tried = RetryInput {
            attempt: record.attempt,
            age: delivery_age(claimed.queued_at_ms, now_ms),
            jitter: random::fraction(),
        };
        let settlement = plan::decide_settlement(&tried, &outcome, &self.handler.delivery, now_ms);
        self.record_settlement(&settlement);
        delivery_log::log_settlement(&self.handler.name, claimed.event.summary.id, record.attempt, &settlement);
        self.unstored_settlements.push(SettledDelivery {
            seq: claimed.event.summary.seq,
            settlement,
            attempt: Some(record),
        });
    }

    fn record_settlement(&self, settlement: &Settlement) {
        let counter = match settlement {
            Settlement::Succeeded => &self.counts.succeeded,
            Settlement::Scheduled { .. } => &self.counts.scheduled,
            Settlement::Dead { .. } => &self.counts.dead,
            Settlement::Released => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends deliveries that waited too long; says whether there were any.
    pub(super) fn settle_expired(&mut self, now_ms: i64) -> bool {
        let settings = &self.handler.delivery;
        let over = self
            .prefetch
            .remove_matching(|claimed| plan::settle_if_expired(delivery_age(claimed.queued_at_ms, now_ms), settings));
        let any = !over.is_empty();
        for (claimed, settlement) in over {
            self.record_settlement(&settlement);
            delivery_log::log_settlement(
                &self.handler.name,
                claimed.event.summary.id,
                claimed.previous_attempts,
                &settlement,
            );
            self.unstored_settlements.push(SettledDelivery {
                seq: claimed.event.summary.seq,
                settlement,
                attempt: None,
            });
        }
        any
    }

    /// Gives back what was claimed and not begun; says whether there was anything.
    pub(super) fn release_queued(&mut self) -> bool {
        let back = self.prefetch.remove_matching(|_| Some(()));
        let any = !back.is_empty();
        let released = |(claimed, ()): (crate::storage::ClaimedDelivery, ())| SettledDelivery {
            seq: claimed.event.summary.seq,
            settlement: Settlement::Released,
            attempt: None,
        };
        self.unstored_settlements.extend(back.into_iter().map(released));
        any
    }
}

fn delivery_age(since_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(since_ms).max(0).unsigned_abs())
}
