//! What follows from attempts that ended, and from deliveries that are not attempted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::attempt::Finished;
use super::plan::{self, Tried};
use super::report;
use super::worker::Worker;
use crate::base::chance;
use crate::handlers::Outcome;
use crate::storage::{Settled, Settlement};

impl Worker {
    /// Decides what becomes of a delivery after an attempt.
    pub(super) fn conclude(&mut self, finished: Finished) {
        let Finished { claimed, outcome, record } = finished;
        let now_ms = self.now_ms();
        self.ready.ended(&claimed);
        self.counts.attempted(record.duration_ms.unsigned_abs());
        if self.registered.handler.has_outside_effects() {
            self.breaker.record(!matches!(outcome, Outcome::Retry { .. }), now_ms);
        }
        let tried = Tried { attempt: record.attempt, age: age(claimed.since_ms, now_ms), jitter: chance::fraction() };
        let settlement = plan::next(&tried, &outcome, &self.registered.delivery, now_ms);
        self.count(&settlement);
        report::settled(&self.registered.name, claimed.event.summary.id, record.attempt, &settlement);
        self.settled.push(Settled { seq: claimed.event.summary.seq, settlement, attempt: Some(record) });
    }

    fn count(&self, settlement: &Settlement) {
        let counter = match settlement {
            Settlement::Succeeded => &self.counts.succeeded,
            Settlement::Scheduled { .. } => &self.counts.scheduled,
            Settlement::Dead { .. } => &self.counts.dead,
            Settlement::Released => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends deliveries that waited too long; says whether there were any.
    pub(super) fn end_too_old(&mut self, now_ms: i64) -> bool {
        let settings = &self.registered.delivery;
        let over = self.ready.take_out(|claimed| plan::too_old(age(claimed.since_ms, now_ms), settings));
        let any = !over.is_empty();
        for (claimed, settlement) in over {
            self.count(&settlement);
            report::settled(&self.registered.name, claimed.event.summary.id, claimed.attempts, &settlement);
            self.settled.push(Settled { seq: claimed.event.summary.seq, settlement, attempt: None });
        }
        any
    }

    /// Gives back what was claimed and not begun; says whether there was anything.
    pub(super) fn give_back(&mut self) -> bool {
        let back = self.ready.take_out(|_| Some(()));
        let any = !back.is_empty();
        let released = |(claimed, ()): (crate::storage::Claimed, ())| Settled {
            seq: claimed.event.summary.seq,
            settlement: Settlement::Released,
            attempt: None,
        };
        self.settled.extend(back.into_iter().map(released));
        any
    }
}

fn age(since_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(since_ms).max(0).unsigned_abs())
}
