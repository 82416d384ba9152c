//! Settles finished attempts, and claimed deliveries that end without one. Results are collected in
//! `unstored_settlements` and stored by the next store batch, many in one transaction.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::attempt::FinishedAttempt;
use super::breaker::BreakerInput;
use super::delivery_log::LoggedDelivery;
use super::plan::{self, RetryInput};
use super::worker::Worker;
use crate::handlers::DestinationHealth;
use crate::storage::{ClaimedDelivery, EventSummary, SettledDelivery, Settlement, SkipReason, StoreError};

impl Worker {
    /// Decides what follows from a finished attempt.
    pub(super) fn settle_attempt(&mut self, finished: FinishedAttempt) {
        let FinishedAttempt { claimed, outcome, health, record, call } = finished;
        let now_ms = self.now_ms();
        self.merges_calls |= call.is_some();
        self.prefetch.finish_attempt(&claimed);
        self.counts.record_attempt_duration(record.duration_ms.unsigned_abs());
        let body_unread = claimed.event.body.is_err();
        // A handler without external effects has no destination that could recover, so its breaker stays closed.
        if self.handler.handler.has_external_effects() {
            self.record_for_breaker(&claimed, health, record.attempt, now_ms);
        }
        let input = RetryInput {
            attempt: record.attempt,
            age: delivery_age(claimed.queued_at_ms, now_ms),
            jitter: fastrand::f64(),
        };
        let settlement = plan::decide_settlement(&input, &outcome, &self.handler.delivery, now_ms);
        self.record_settlement(&settlement);
        let was_sent = health != DestinationHealth::Unknown;
        self.log_settlement(&claimed.event.summary, record.attempt, was_sent, &settlement);
        self.unstored_settlements.push(SettledDelivery {
            seq: claimed.event.summary.seq,
            lease: claimed.lease,
            settlement,
            attempt: Some(record),
            body_unread,
            call,
        });
    }

    fn record_for_breaker(&mut self, claimed: &ClaimedDelivery, health: DestinationHealth, attempt: u32, now_ms: i64) {
        let event = &claimed.event.summary;
        let event_id = event.id.to_string();
        let input = BreakerInput {
            health,
            call: event.call_id.as_deref().unwrap_or(&event_id),
            is_first_attempt: attempt == 1,
            was_untried: claimed.is_untried,
            is_last: self.prefetch.is_idle(),
        };
        self.breaker.record_attempt(input, now_ms);
    }

    fn log_settlement(&mut self, event: &EventSummary, attempts: u32, was_sent: bool, settlement: &Settlement) {
        let handler = self.handler.name.as_str();
        let now_ms = self.deps.clock.now_ms();
        self.delivery_log.log_settlement(&LoggedDelivery { handler, event, attempts, was_sent, now_ms }, settlement);
    }

    fn record_settlement(&self, settlement: &Settlement) {
        let counter = match settlement {
            Settlement::Succeeded => &self.counts.succeeded,
            Settlement::Scheduled { .. } => &self.counts.scheduled,
            Settlement::Dead { .. } => &self.counts.dead,
            Settlement::Skipped { .. } => &self.counts.skipped,
            Settlement::Released => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Settles queued deliveries that exceeded `max_age_ms` as dead. Returns whether there were any.
    pub(super) fn settle_expired(&mut self, now_ms: i64) -> bool {
        let settings = &self.handler.delivery;
        let expired = self
            .prefetch
            .remove_matching(|claimed| plan::settle_if_expired(delivery_age(claimed.queued_at_ms, now_ms), settings));
        let any_expired = !expired.is_empty();
        for (claimed, settlement) in expired {
            self.record_settlement(&settlement);
            self.log_settlement(&claimed.event.summary, claimed.previous_attempts, false, &settlement);
            let seq = claimed.event.summary.seq;
            self.unstored_settlements.push(SettledDelivery {
                body_unread: claimed.event.body.is_err(),
                ..SettledDelivery::without_attempt(seq, claimed.lease, settlement)
            });
        }
        any_expired
    }

    /// Ends a delivery that the handler's filter excludes.
    pub(super) fn settle_excluded(&mut self, claimed: &ClaimedDelivery) {
        let settlement = Settlement::Skipped { reason: SkipReason::Filtered };
        self.record_settlement(&settlement);
        self.log_settlement(&claimed.event.summary, claimed.previous_attempts, false, &settlement);
        let seq = claimed.event.summary.seq;
        self.unstored_settlements.push(SettledDelivery::without_attempt(seq, claimed.lease, settlement));
    }

    /// Releases deliveries that were claimed and not started. Returns whether there were any.
    pub(super) fn release_queued(&mut self) -> bool {
        let queued = self.prefetch.remove_matching(|_| Some(()));
        let any_queued = !queued.is_empty();
        for (claimed, ()) in queued {
            let seq = claimed.event.summary.seq;
            self.unstored_settlements.push(SettledDelivery::without_attempt(seq, claimed.lease, Settlement::Released));
        }
        any_queued
    }

    /// Stores settlements right now, for the shutdown.
    pub(super) async fn store_settlements(&mut self, settled: Vec<SettledDelivery>) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        let refused = self.deps.queue.settle_deliveries(self.handler_id, settled, now_ms).await?;
        self.record_refused(refused);
        Ok(())
    }

    /// Counts settlements that the store refused because their lease had been lost.
    pub(super) fn record_refused(&self, refused: usize) {
        if refused > 0 {
            self.counts.late_settlements.fetch_add(refused as u64, Ordering::Relaxed);
            tracing::warn!(handler = %self.handler.name, count = refused, "late settlements refused");
        }
    }
}

fn delivery_age(queued_at_ms: i64, now_ms: i64) -> Duration {
    // Zero when the clock was set back: the delivery is then kept for longer instead of dying too early.
    Duration::from_millis(now_ms.saturating_sub(queued_at_ms).max(0).unsigned_abs())
}
