//! Circuit breaker of a handler with external effects: stops attempts while its destination is down. No I/O and no
//! clock.
//!
//! It protects the destination from a backlog that retries, and the backlog from the destination: without it, an
//! outage of an hour would use up the retry schedule of every delivery that waits.

use std::collections::VecDeque;

use crate::storage::BreakerState;

/// Consecutive failures that open the breaker.
const MAX_CONSECUTIVE_FAILURES: u32 = 5;
/// A destination that fails only part of the time never reaches the limit above, so this many failures among the
/// latest attempts open the breaker too.
const WINDOW_ATTEMPTS: usize = 20;
const MAX_WINDOW_FAILURES: usize = 10;
/// Time the breaker stays open the first time, and at most. Each failed probe doubles it.
const MIN_OPEN_MS: i64 = 10_000;
const MAX_OPEN_MS: i64 = 300_000;

/// Whether attempts may be started now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerDecision {
    Allow,
    /// Half-open: one attempt, whose outcome closes or opens the breaker.
    Probe,
    /// No attempt before this time, in milliseconds since the Unix epoch.
    DenyUntil(i64),
}

/// Times in milliseconds; kept after `until_ms` while the breaker is half-open, for the next doubling.
#[derive(Clone, Copy, Debug)]
struct OpenPeriod {
    until_ms: i64,
    duration_ms: i64,
}

impl OpenPeriod {
    fn starting_at(now_ms: i64, duration_ms: i64) -> Self {
        Self { until_ms: now_ms.saturating_add(duration_ms), duration_ms }
    }
}

#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    consecutive_failures: u32,
    recent_results: VecDeque<bool>,
    open: Option<OpenPeriod>,
}

impl CircuitBreaker {
    pub(super) fn check(&self, now_ms: i64) -> BreakerDecision {
        match self.open {
            None => BreakerDecision::Allow,
            // The clock was set back since the breaker opened if more is left than it was opened for.
            Some(open) if (1..=open.duration_ms).contains(&open.until_ms.saturating_sub(now_ms)) => {
                BreakerDecision::DenyUntil(open.until_ms)
            }
            Some(_) => BreakerDecision::Probe,
        }
    }

    pub(super) fn state(&self, now_ms: i64) -> BreakerState {
        match self.check(now_ms) {
            BreakerDecision::Allow => BreakerState::Closed,
            BreakerDecision::Probe => BreakerState::HalfOpen,
            BreakerDecision::DenyUntil(_) => BreakerState::Open,
        }
    }

    /// Records the outcome of an attempt. `answered` is false when the attempt has to be retried; an answer that
    /// rejects the event for good counts as answered, because the destination is up.
    pub(super) fn record_attempt(&mut self, answered: bool, now_ms: i64) {
        match (self.open, answered) {
            (Some(_), true) => *self = Self::default(),
            (Some(open), false) => {
                // Before `until_ms` only attempts end that were started while the breaker was closed. They are part
                // of the same outage and must not double the period.
                if self.check(now_ms) == BreakerDecision::Probe {
                    self.open = Some(OpenPeriod::starting_at(now_ms, (open.duration_ms * 2).min(MAX_OPEN_MS)));
                }
            }
            (None, _) => self.record_while_closed(answered, now_ms),
        }
    }

    fn record_while_closed(&mut self, answered: bool, now_ms: i64) {
        self.consecutive_failures = if answered { 0 } else { self.consecutive_failures + 1 };
        self.recent_results.push_back(answered);
        if self.recent_results.len() > WINDOW_ATTEMPTS {
            self.recent_results.pop_front();
        }
        if answered {
            return;
        }
        let failures = self.recent_results.iter().filter(|answered| !**answered).count();
        // Only a full window counts: a handler's first attempts are too few for a rate.
        let window_exceeded = self.recent_results.len() == WINDOW_ATTEMPTS && failures >= MAX_WINDOW_FAILURES;
        if self.consecutive_failures >= MAX_CONSECUTIVE_FAILURES || window_exceeded {
            self.open = Some(OpenPeriod::starting_at(now_ms, MIN_OPEN_MS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_breaker() -> CircuitBreaker {
        let mut breaker = CircuitBreaker::default();
        (0..5).for_each(|_| breaker.record_attempt(false, 0));
        breaker
    }

    #[test]
    fn consecutive_failures_open_it_and_a_success_closes_it() {
        let mut breaker = CircuitBreaker::default();
        for answered in [false, false, false, false, true, false, false, false, false] {
            breaker.record_attempt(answered, 0);
            assert_eq!(breaker.check(0), BreakerDecision::Allow);
        }
        breaker.record_attempt(false, 0);
        assert_eq!(breaker.check(9_999), BreakerDecision::DenyUntil(10_000));
        assert_eq!((breaker.check(10_000), breaker.state(10_000)), (BreakerDecision::Probe, BreakerState::HalfOpen));
        breaker.record_attempt(true, 10_000);
        assert_eq!((breaker.check(10_000), breaker.state(10_000)), (BreakerDecision::Allow, BreakerState::Closed));
    }

    #[test]
    fn a_high_rate_of_failures_opens_it() {
        let mut breaker = CircuitBreaker::default();
        for at in 0..19 {
            breaker.record_attempt(at % 2 == 0, 0);
        }
        assert_eq!(breaker.check(0), BreakerDecision::Allow);
        breaker.record_attempt(false, 0);
        assert_eq!(breaker.state(0), BreakerState::Open);
    }

    #[test]
    fn it_does_not_stay_open_after_the_clock_was_set_back() {
        let mut breaker = CircuitBreaker::default();
        (0..5).for_each(|_| breaker.record_attempt(false, 86_400_000));
        assert_eq!(breaker.check(86_390_000), BreakerDecision::Probe, "less than the day that the clock was ahead");
        breaker.record_attempt(false, 0);
        assert_eq!(breaker.check(0), BreakerDecision::DenyUntil(20_000));
    }

    #[test]
    fn failed_probes_double_the_wait_up_to_five_minutes() {
        let mut breaker = open_breaker();
        breaker.record_attempt(false, 5_000);
        assert_eq!(
            breaker.check(5_000),
            BreakerDecision::DenyUntil(10_000),
            "an attempt started before it opened changes nothing"
        );
        let mut waits = Vec::new();
        let mut now_ms = 5_000;
        for _ in 0..6 {
            let BreakerDecision::DenyUntil(until_ms) = breaker.check(now_ms) else { panic!() };
            breaker.record_attempt(false, until_ms);
            let BreakerDecision::DenyUntil(next_ms) = breaker.check(until_ms) else { panic!() };
            waits.push(next_ms - until_ms);
            now_ms = until_ms;
        }
        assert_eq!(waits, [20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    }
}
